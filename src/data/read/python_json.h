// JSON as Python writes and reads it: with NaN, Infinity and -Infinity. Used by the readers.
#pragma once

#include <string_view>

#include "core/json.h"

namespace sft {

// The value of a whole text; such numbers become doubles that are none. Errors as Json::parse.
Json parse_python_json(std::string_view text);

// "this line is not valid JSON (at its byte 7)", or that it is not valid UTF-8 and what it may be.
std::string what_is_wrong(std::string_view text, const Json::parse_error& error);

}  // namespace sft
