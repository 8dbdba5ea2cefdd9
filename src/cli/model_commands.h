// The subcommands that evaluate, check and push a model; see cli/commands.h.
#pragma once

#include "cli/commands.h"

namespace sft {

int run_check(Args args, Terminal& terminal);
int run_eval(Args args, Terminal& terminal);
int run_push(Args args, Terminal& terminal);

}  // namespace sft
