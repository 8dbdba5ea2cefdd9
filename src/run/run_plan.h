// What a run would do, without doing it: `--dry_run`. Reads the data and the
// model's configuration, not its weights, and writes nothing.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/survey.h"
#include "run/surroundings.h"
#include "settings/train_options.h"
#include "train/memory_plan.h"

namespace sft {

struct RunPlan {
  std::string model;  // "name (architecture), 134,515,008 parameters"
  std::string data;   // the data set's report
  Survey train;
  std::optional<Survey> eval;
  int64_t steps = 0, steps_per_epoch = 0;
  int64_t rows_a_batch = 0;  // of one device
  double epochs = 0;
  double rows_a_step = 0, tokens_a_step = 0, trained_a_step = 0;  // on average
  MemoryPlan memory;
  std::string fitting;  // fitting_settings, where it does not fit
};

// The errors of run_training up to the first step, but for G010: whether it fits, `memory` says.
// Without `with_memory` only the data are looked at.
RunPlan plan_training(const TrainOptions& options, const RunSurroundings& surroundings);

Json to_json(const RunPlan& plan);
std::vector<std::string> describe(const RunPlan& plan, const TrainOptions& options, int width,
                                  bool bars);

}  // namespace sft
