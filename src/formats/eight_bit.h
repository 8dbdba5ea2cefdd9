// Formats of 8 bits, of a matrix (out, in). int8 as LLM.int8 has it (Dettmers et al. 2022): values
// rounded to float16, a float32 a row that is its largest magnitude, which is 127. float8 e4m3
// (Micikevicius et al. 2022), whose largest number is 448: a float32 scale for each row, or for
// each tile (core/dtype.h), where it is what published models hold.
#pragma once

#include <cstdint>

#include "core/tensor.h"
#include "core/thread_pool.h"

namespace sft {

void decode_eight_bit(const Tensor& packed, int64_t begin, int64_t end, float* to);
void encode_eight_bit(const float* values, Tensor& packed, ThreadPool* pool = nullptr);

// float8 e4m3 without infinities: the nearest, ties to even; beyond 448 it is 448. A NaN stays one.
uint8_t to_float8(float x);
float from_float8(uint8_t x);

}  // namespace sft
