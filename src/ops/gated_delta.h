// Linear attention by the gated delta rule: each head keeps a state, a matrix that maps keys to
// values, and a token lets it fade, corrects what it says about the token's key, and asks it.
// Yang, Kautz and Hatamizadeh, "Gated delta networks" (2024).
#pragma once

#include "device/kernel.h"
#include "graph/program.h"
#include "ops/attributes.h"

namespace sft {

// Of each document and value head, with the state S (key_dim, value_dim) zero at its beginning, and
// q = query / |query| / sqrt(key_dim), k = key / |key|, where |x| = sqrt(sum x^2 + 1e-6):
//   S = S exp(-exp(a_log) softplus(a + dt_bias)),  S = S + k sigmoid(b) (value - S^T k)^T,
//   y = S^T q
// qkv (tokens, heads.row()), rates (tokens, 2 value_heads), a_log and dt_bias (value_heads),
// `table` the document_table (ops/attention.h) -> (tokens, heads.values()), 0 after the last
// document.
Value gated_delta(Program& p, Value qkv, Value rates, Value a_log, Value dt_bias, Value table,
                  const DeltaHeads& heads);

// For generation: see cached_conv. state (lanes, value_heads, key_dim, value_dim) f32.
Value cached_gated_delta(Program& p, Value qkv, Value rates, Value a_log, Value dt_bias,
                         Value state, Value past, Value lanes, const DeltaHeads& heads);

// What the kernels of a device work in, in bytes; 0 on a CPU.
int64_t gated_delta_workspace(const Target& target, const DeltaHeads& heads, int64_t tokens,
                              int64_t documents, bool backward);

SFT_KERNEL(void, gated_delta_forward, const Tensor& qkv, const Tensor& rates, const Tensor& a_log,
           const Tensor& dt_bias, const Tensor& table, const DeltaHeads& heads, Tensor& y,
           Tensor& workspace);
// The gradients of a_log and dt_bias may have no data.
SFT_KERNEL(void, gated_delta_backward, const Tensor& grad_y, const Tensor& qkv, const Tensor& rates,
           const Tensor& a_log, const Tensor& dt_bias, const Tensor& table, const DeltaHeads& heads,
           Tensor& grad_qkv, Tensor& grad_rates, Tensor& grad_a_log, bool accumulate_a_log,
           Tensor& grad_dt_bias, bool accumulate_dt_bias, Tensor& workspace);
SFT_KERNEL(void, cached_delta_forward, const Tensor& qkv, const Tensor& rates, const Tensor& a_log,
           const Tensor& dt_bias, const Tensor& past, const Tensor& lanes, const DeltaHeads& heads,
           Tensor& state, Tensor& y);

}  // namespace sft
