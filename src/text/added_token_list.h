// The list of added tokens inside the text of a tokenizer.json, which is read and lengthened
// without looking at the vocabulary around it. Used where a tokenizer takes tokens from another
// one.
#pragma once

#include <string>
#include <string_view>

#include "core/json_fwd.h"

namespace sft {

// The list, empty where there is none. M010 or M110 for a file that is no tokenizer.json.
Json added_token_list(std::string_view tokenizer_json, const std::string& name);

// The text with `more` at the end of the list; all else stays byte for byte.
std::string with_added_tokens(std::string_view tokenizer_json, const Json& more,
                              const std::string& name);

}  // namespace sft
