// The tokens that files beside tokenizer.json add or change, by the rules of transformers. Used by
// the tokenizer and by whoever makes one.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/added_tokens.h"

namespace sft {

// tokenizer_config.json as it counts, for Tokenizer::from_text: where it has no
// added_tokens_decoder, what special_tokens_map.json says wins, and added_tokens.json lies under
// its own name in it. `file_text` gives a file's text by its name, or nothing. M010, M110 for a
// file that is not a JSON object.
Json whole_tokenizer_config(
    const std::function<std::optional<std::string>(const std::string&)>& file_text);

// The tokens that have a name, the usual ones first: "eos_token" -> "</s>", "image_token" -> ….
std::vector<std::pair<std::string, std::string>> named_special_tokens(const Json& config);

// Adds the tokens that tokenizer.json does not list, and sets the flags that `config`, as above,
// changes. M110 for a malformed entry.
void add_special_tokens(const Json& config, const Vocabulary& vocabulary, const std::string& where,
                        AddedTokens& added);

}  // namespace sft
