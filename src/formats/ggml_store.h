// What the encoders of GGUF's formats share. Used by ggml_encode*.cpp alone.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "core/dtype.h"

// Compiled twice, the second time for processors with AVX2; the numbers are the same.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(SFT_SANITIZED)
#define SFT_ENCODER __attribute__((target_clones("avx2", "default")))
#else
#define SFT_ENCODER
#endif

namespace sft {

// False for a scale that float16 has no room for.
inline bool store_half(uint8_t* p, float x) {
  const Float16 half = to_float16(x);
  std::memcpy(p, &half, sizeof(half));
  return (half.bits & 0x7c00U) != 0x7c00U;
}

inline float load_half(const uint8_t* p) {
  Float16 half{};
  std::memcpy(&half, p, sizeof(half));
  return to_float(half);
}

}  // namespace sft
