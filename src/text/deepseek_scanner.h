// The three expressions of the DeepSeek V3 tokenizer, each applied to what the one before left, in
// one pass. Used by WordScanner.
#pragma once

#include <cstdint>
#include <vector>

#include "text/span.h"

namespace sft {

void cut_deepseek(const char* text, uint32_t begin, uint32_t end, std::vector<Span>& words);

}  // namespace sft
