// A half-open range of bytes in a text; used by the tokenizer, the chat templates and their
// callers.
#pragma once

#include <cstdint>

namespace sft {

struct Span {
  uint32_t begin = 0;
  uint32_t end = 0;

  uint32_t size() const { return end - begin; }
  friend bool operator==(const Span&, const Span&) = default;
};

}  // namespace sft
