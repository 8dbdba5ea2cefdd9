// The ranges of the numbers in a checkpoint's sft_state.json. Used by the trainer when it goes on.
#pragma once

#include <string>

#include "core/json.h"

namespace sft {

// M264 when a number of the state is of another kind or beyond what a run can reach; names it.
void check_run_state(const Json& state, const std::string& file);

}  // namespace sft
