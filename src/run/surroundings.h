// What a run shows to people and asks of its surroundings. Made by the command line, and by tests.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "control/launch_environment.h"
#include "control/rank_control.h"
#include "core/environment.h"
#include "core/json_fwd.h"
#include "core/log.h"
#include "hub/environment.h"

namespace sft {

// All that is referred to outlives the run.
struct RunSurroundings {
  const Logger& logger;
  const HubEnvironment& hub;
  const std::atomic<int>* stop_signal = nullptr;  // null: nobody stops it
  std::atomic<int>* save_signal = nullptr;        // see RankContext
  // Called when training begins: from here on a signal has something to save.
  std::function<void()> on_training{};
  std::function<void(std::string_view line)> print{};  // results
  // What is done before the first step: "reading the data".
  std::function<void(std::string_view stage)> on_stage{};
  // Each line of metrics.jsonl, of the thread that writes it.
  std::function<void(const Json& line)> on_line{};
  std::function<void(int64_t done, int64_t total, std::string_view tail)> on_step{};
  std::function<void(int64_t done, int64_t total)> on_eval_batch{};
  std::string version{};
  std::vector<std::string> argv{};
  Environment environment{};       // what the command line has read of it
  LaunchEnvironment launch{};      // which of the run's ranks this is
  RankControl* control = nullptr;  // needed where there are several
};

}  // namespace sft
