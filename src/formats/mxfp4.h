// MXFP4 as gpt-oss publishes its experts: numbers of 4 bits (e2m1) and a power of two for 32 of
// them. Rouhani et al., "Microscaling data formats for deep learning" (2023).
//
// Of a tensor (..., in, out) the values of a column stand in a row: codes (..., out, in), two a
// byte, the first in its low half; from the next 16 bytes on a byte for each 32 codes, the exponent
// of two plus 127. `in` is a multiple of 32.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "core/tensor.h"

namespace sft {

inline constexpr int64_t kMxfp4Block = 32;

// Twice the numbers of the 16 codes, and half of the power that an exponent's byte stands for:
// their product is the value, exactly, also where the power itself is beyond float32.
inline constexpr std::array<float, 16> kMxfp4Doubles{0.0F,  1.0F,  2.0F,  3.0F,  4.0F,  6.0F,
                                                     8.0F,  12.0F, -0.0F, -1.0F, -2.0F, -3.0F,
                                                     -4.0F, -6.0F, -8.0F, -12.0F};
constexpr float mxfp4_half_power(uint32_t exponent) {
  return std::bit_cast<float>(exponent < 2 ? 0x200000U << exponent : (exponent - 1) << 23);
}

void decode_mxfp4(const Tensor& packed, int64_t begin, int64_t end, float* to);

// ggml's blocks of 32: the exponent's byte, then 16 bytes, byte i with code i in its low half and
// code i + 16 in its high one. The 16 bytes of codes to the form above, and back.
inline constexpr int64_t kGgmlMxfp4Bytes = 17;
void mxfp4_from_ggml(const uint8_t* block, uint8_t* codes);
void mxfp4_to_ggml(const uint8_t* codes, uint8_t* block);

}  // namespace sft
