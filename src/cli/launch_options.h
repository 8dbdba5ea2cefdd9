// What `sft launch` was asked for: its own flags, named as torchrun's, then those of the training.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "control/launch_environment.h"

namespace sft {

struct LaunchOptions {
  int ranks = 1;  // on this node
  int nodes = 1, node_rank = 0;
  std::string master_addr;
  int master_port = 29500;
  int max_restarts = 0;
  std::string job, token;
  bool require_token = false;
  double join_timeout = 600;          // seconds
  std::vector<std::string> training;  // the ranks' arguments
};

// Flags win over torchrun's PET_* variables, which `environment` holds where it is a node's. Throws
// C134 for a flag's bad value, C135 where flags contradict each other.
LaunchOptions read_launch_options(Args args, const LaunchEnvironment& environment);

// The GPUs that CUDA would find, and the processors that this process may use.
Machine visible_machine();

}  // namespace sft
