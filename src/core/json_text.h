// JSON text from strangers: a limit on its depth, because what walks, copies or prints a value
// calls itself once a level. Used by json.cpp and by every reader that does not want an error
// thrown.
#pragma once

#include <string_view>

#include "core/json_fwd.h"

namespace sft {

inline constexpr int kMaxJsonDepth = 1000;

// Where the string ends whose opening quote is at `begin`: at its closing quote, or the text's end.
size_t end_of_string(std::string_view text, size_t begin);

// Whether arrays and objects of the text are nested deeper than that.
bool too_deep(std::string_view text);

// Json::parse in time linear in the keys of an object: the library looks through all earlier keys
// for each. Throws what that throws. The text is not too deep.
Json parse_linear(std::string_view text);

// The value of a whole document; discarded (`is_discarded`) when it is not JSON or is too deep.
Json json_of(std::string_view text);

}  // namespace sft
