// Encoding float32 in the number formats of GGUF files. The bytes are those of ggml's quantiser
// without an importance matrix, bit for bit. Used by the writer of GGUF files.
#pragma once

#include <cstddef>
#include <cstdint>

#include "formats/ggml_blocks.h"

namespace sft {

// Encodes `n` values, a multiple of the type's block. False where a value is not finite or a
// block's scale is beyond what float16 holds: what is written then cannot be decoded.
bool encode_ggml(const GgufType& type, const float* source, int64_t n, std::byte* destination);

// The formats of 256 values a block, one after the other; used by the function above alone.
bool encode_q4_k(const float* source, int64_t n, std::byte* destination);
bool encode_q5_k(const float* source, int64_t n, std::byte* destination);
bool encode_q6_k(const float* source, int64_t n, std::byte* destination);

}  // namespace sft
