// Where the program keeps what the next run can use.
#pragma once

#include <filesystem>

#include "core/environment.h"

namespace sft {

// `part` in $SFT_CACHE, $XDG_CACHE_HOME/sft, ~/.cache/sft: the first that is set. Empty when none
// is.
std::filesystem::path cache_folder(const char* part, const Environment& environment);

}  // namespace sft
