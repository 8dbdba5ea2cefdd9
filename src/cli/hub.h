// The hub's environment as the commands hand it down: variables read, words and a progress line on
// the terminal.
#pragma once

#include <atomic>

#include "cli/terminal.h"
#include "core/log.h"
#include "hub/environment.h"

namespace sft {

// `terminal`, `log` and `stop_signal` (may be null) must outlive it. `bar`: show progress.
HubEnvironment hub_environment(Terminal& terminal, const Logger& log, bool bar = true,
                               const std::atomic<int>* stop_signal = nullptr);

}  // namespace sft
