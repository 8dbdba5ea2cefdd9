// The name of JSON values, for headers that hold none: the type itself (core/json.h) costs each
// source that reads it more than a second.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace sft {

using Json = nlohmann::ordered_json;

}  // namespace sft
