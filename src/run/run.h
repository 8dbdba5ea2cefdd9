// A whole training run of one process, from options to the saved folder. cli/train.cpp calls it.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "control/launch_environment.h"
#include "control/rank_control.h"
#include "core/log.h"
#include "hub/cache.h"
#include "settings/train_options.h"
#include "train/trainer.h"

namespace sft {

// What a run shows to people and asks of its surroundings.
struct RunSurroundings {
  const Logger& logger;
  const HubEnvironment& hub;
  const std::atomic<int>& stop_signal;
  std::atomic<int>* save_signal;  // see RankContext
  // Called when training begins: from here on a signal has something to save.
  std::function<void()> on_training;
  std::function<void(std::string_view line)> print;  // results
  std::function<void(int64_t done, int64_t total, std::string_view tail)> on_step;
  std::function<void(int64_t done, int64_t total)> on_eval_batch;
  std::string version;
  std::vector<std::string> argv;
  LaunchEnvironment launch = {};   // which of the run's ranks this is
  RankControl* control = nullptr;  // needed where there are several
};

// Trains and saves. Throws Error for whatever keeps it from doing so; what was saved stays whole.
TrainOutcome run_training(const TrainOptions& options, const RunSurroundings& surroundings);

}  // namespace sft
