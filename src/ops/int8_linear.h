// y = x W^T with a weight in 8 bits and x rounded to 8 bits, as bitsandbytes computes LLM.int8:
// Dettmers et al., "LLM.int8()" (2022). The columns of x that have large numbers are multiplied as
// they are. The input's gradient is that of a product with the decoded weight.
#pragma once

#include "device/kernel.h"
#include "graph/program.h"

namespace sft {

struct Linear;

// Whether a weight, or a part of it, is kept in 8 bits.
bool is_int8(const Program& p, Value weight);
// The forward instructions of a layer that has such a weight.
void emit_int8_linear(Program& p, Value x, const Linear& layer, Value y);

// x (tokens, in), looked at in float16 -> codes (tokens, in) of u8 that hold int8, in 127ths of
// scales (tokens), a row's largest magnitude below the threshold. outliers (in) of i32: 1 for a
// column that reaches the threshold in any row, whose codes are 0. A threshold of 0: there is none.
SFT_KERNEL(void, int8_rows, const Tensor& x, float threshold, Tensor& codes, Tensor& scales,
           Tensor& outliers);
// y[:, first .. first + n) = the product with a weight (n, in) in 8 bits, and of what is in
// `outliers` with x itself; plus those of bias (null: none). With a weight in another type: the
// plain product with x.
SFT_KERNEL(void, int8_linear, const Tensor& x, const Tensor& codes, const Tensor& scales,
           const Tensor& outliers, const Tensor& weight, const Tensor& bias, int64_t first,
           Tensor& y);

}  // namespace sft
