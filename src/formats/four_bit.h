// bitsandbytes' 4-bit formats (Dettmers et al., "QLoRA", 2023): blocks of 64 consecutive values of
// the flat tensor, two codes a byte, the first in the high half; a value is its code's number times
// the block's scale, which is its largest magnitude.
//
// Nested (double quantisation): the scales less their mean are themselves codes of 8 bits in blocks
// of 256 (formats/block8.h, the signed map). In memory: the codes, from the next 16 bytes on a byte
// for each block, then (at whole 4 bytes) a float32 for each 256 of them, and the mean.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "core/tensor.h"
#include "core/thread_pool.h"

namespace sft {

// The numbers of the 16 codes.
const std::array<float, 16>& four_bit_codes(DType type);

void decode_four_bit(const Tensor& packed, int64_t begin, int64_t end, float* to);
void encode_four_bit(const float* values, Tensor& packed, ThreadPool* pool = nullptr);

// The scale of each block of 64.
float four_bit_scale(const Tensor& packed, int64_t block);

// --- what kernels on devices are made of
// Where the parts behind the codes lie; null where a type has none.
struct FourBitScales {
  float* scales = nullptr;   // of blocks, or where they are nested
  uint8_t* codes = nullptr;  // codes of them,
  float* outer = nullptr;    // a float for each 256,
  float* mean = nullptr;     // and what is added
};
FourBitScales four_bit_scales(const Tensor& packed);  // of one that is read or written
// The numbers that the 256 codes of nested scales stand for, rising.
std::span<const float> nested_scale_numbers();
float mean_of_scales(std::span<const float> scales);

// The codes in the order of their numbers, and the middles between neighbours: a number belongs to
// as many codes above the first as there are middles below it.
struct FourBitBorders {
  std::array<uint8_t, 16> order{};
  std::array<float, 15> middles{};
};
FourBitBorders four_bit_borders(DType type);

}  // namespace sft
