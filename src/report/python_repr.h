// Dicts as Python prints them, in the console lines of training. Used by RunLog.
#pragma once

#include <string>

#include "core/json_fwd.h"

namespace sft {

// Python's str(dict) of a flat or nested value; JSON null prints as None.
std::string python_repr(const Json& value);

}  // namespace sft
