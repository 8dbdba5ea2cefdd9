// Rewrites a regular expression of tokenizer.json, which is written for the Oniguruma engine (Ruby
// syntax), for PCRE2, so that it matches the same text. Used by Pattern alone.
#pragma once

#include <string>
#include <string_view>

namespace sft {

// Throws M108, naming `where`, for syntax whose meaning is not certain to be the same.
std::string oniguruma_to_pcre2(std::string_view regex, const std::string& where);

}  // namespace sft
