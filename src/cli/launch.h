// What the commands that train share of launching: the environment as it is, joining the run, and
// becoming this node's launcher where a scheduler started one process per node.
#pragma once

#include <functional>
#include <memory>

#include "cli/commands.h"
#include "control/launch_environment.h"
#include "control/rank_control.h"

namespace sft {

// resolve_launch of this process's own environment.
LaunchEnvironment surrounding_launch();

// For what is only planned: where this process would start ranks, it is the first of them.
LaunchEnvironment first_of_ranks(LaunchEnvironment environment);

// Starts this node's ranks with these words and stays until they have ended; the exit code.
int launch_ranks(Args args, const LaunchEnvironment& environment, Terminal& terminal);

// The control plane of a rank: when it returns, all ranks are here. `timeout` is --ddp_timeout.
// What is waited for is said on `terminal`.
std::unique_ptr<RankControl> join_ranks(const LaunchEnvironment& environment, double timeout,
                                        Terminal& terminal);

// C137 where --require_token is given and several ranks or machines would meet without a secret.
void require_secret(bool required, int parties, const std::string& token);
// What is said of a run without one.
std::string no_secret_line(int port);

// Does this rank's work up to the orderly end of all. An error ends the other ranks too; what is
// thrown then is the first cause, whichever rank had it.
void run_as_rank(RankControl& control, const std::function<void()>& work);

}  // namespace sft
