// A recipe that lies in the hub's cache is somebody else's: what its author wrote may name data and
// models of the hub, and nothing of this machine. One that lies anywhere else is the user's own, as
// he gave it. Used by the parser.
#pragma once

#include <string>

#include "options/parser.h"

namespace sft {

// D080 for a value from such a recipe that is an absolute path, begins in a home folder, or leads
// out with "..".
void check_borrowed_recipe(const OptionTable& table, const ParsedOptions& parsed,
                           const std::string& recipe);

}  // namespace sft
