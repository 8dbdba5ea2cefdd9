// The number formats of GGUF files, and their decoding to float32. Used by GgufFile and
// ModelSource. Block layouts: ggml's ggml-common.h; the decoded values equal those of gguf-py bit
// for bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/dtype.h"

namespace sft {

struct GgufType {
  uint32_t code;
  const char* name;
  int64_t block;        // elements per block
  int64_t block_bytes;  // bytes per block
  // Decodes `n` elements, a multiple of `block`.
  void (*decode)(const std::byte* source, int64_t n, float* destination);
  bool quantised;
  DType dtype;
};

// Null for a code, or a type, that is not supported.
const GgufType* find_gguf_type(uint32_t code);
const GgufType* find_gguf_type(DType type);
// "IQ2_XS" or "number 99", for errors.
std::string gguf_type_label(uint32_t code);
// "F32, F16, ...": what is supported.
std::string gguf_type_list();

}  // namespace sft
