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

// Every name, reduce_lr_on_plateau included.
std::vector<std::string> schedule_names();

// C100 unknown name (with the nearest), C101 an argument it does not know, C102 an argument of the
// wrong type or value, C103 an argument that must be given. reduce_lr_on_plateau gives the constant
// 1: the trainer multiplies by PlateauState's factor.
Schedule make_schedule(const std::string& name, const ScheduleInput& input);

// Warmup steps of a run: whole numbers from 1 up as they are, below 1 a share of `total_steps`
// rounded up; a `ratio` counts when `steps` is 0.
int64_t warmup_step_count(double steps, double ratio, int64_t total_steps);

// reduce_lr_on_plateau: torch's ReduceLROnPlateau for one learning rate.
class PlateauState {
 public:
  // C101 and C102 as above. `learning_rate` is the rate it starts from.
  PlateauState(double learning_rate, const Json& kwargs);

  // Takes the metric of one evaluation; returns the learning rate from now on.
  double step(double metric);
  double learning_rate() const { return learning_rate_; }
  Json state() const;
  void restore(const Json& state);

 private:
  bool is_better(double metric) const;

  double learning_rate_;
  bool minimise_ = true, relative_ = true;
  double factor_ = 0.1, threshold_ = 1e-4, min_lr_ = 0.0, eps_ = 1e-8;
  int64_t patience_ = 10, cooldown_ = 0;
  double best_;
  int64_t bad_evaluations_ = 0, cooldown_left_ = 0;
};

}  // namespace sft
