// bitsandbytes' 4-bit formats (Dettmers et al., "QLoRA", 2023): blocks of 64 consecutive values of
// the flat tensor, two codes a byte, the first in the high half; a value is its code's number times
// the block's scale, which is its largest magnitude.
//
// Nested (double quantisation): the scales less their mean are themselves codes of 8 bits in blocks
// of 256 (formats/block8.h, the signed map). In memory: the codes, from the next 16 bytes on a byte
// for each block, then (at whole 4 bytes) a float32 for each 256 of them, and the mean.
#pragma once

#include <array>

#include "core/tensor.h"
#include "core/thread_pool.h"

namespace sft {

// The numbers of the 16 codes.
const std::array<float, 16>& four_bit_codes(DType type);

void decode_four_bit(const Tensor& packed, int64_t begin, int64_t end, float* to);
void encode_four_bit(const float* values, Tensor& packed, ThreadPool* pool = nullptr);

// The scale of each block of 64.
float four_bit_scale(const Tensor& packed, int64_t block);

}  // namespace sft
