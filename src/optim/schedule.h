// Learning-rate schedules: a table from a name to a pure function of the step. Formulas, defaults
// and arguments are those of transformers' optimization.py. Used by the trainer and by option
// checking.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/json.h"

namespace sft {

struct ScheduleInput {
  double learning_rate = 0.0;  // peak
  int64_t warmup_steps = 0;
  int64_t total_steps = 0;  // optimizer steps of the whole run
  Json kwargs;              // null or an object
};

// Multiplier of the peak rate for optimizer step `step` (0 is the first).
using Schedule = std::function<double(int64_t step)>;

// Every name, those that follow the evaluation (optim/metric_schedule.h) included.
std::vector<std::string> schedule_names();

// C100 unknown name (with the nearest), C101 an argument it does not know, C102 an argument of the
// wrong type or value, C103 an argument that must be given. A schedule that follows the evaluation
// gives the constant 1: the trainer asks its MetricSchedule.
Schedule make_schedule(const std::string& name, const ScheduleInput& input);

// Warmup steps of a run: whole numbers from 1 up as they are, below 1 a share of `total_steps`
// rounded up; a `ratio` counts when `steps` is 0.
int64_t warmup_step_count(double steps, double ratio, int64_t total_steps);

}  // namespace sft
