// The per-head norm of queries and keys in Qwen3 and Gemma 3, and of values too in Gemma 4.
#pragma once

#include "device/kernel.h"
#include "graph/program.h"
#include "ops/attributes.h"

namespace sft {

// qkv (tokens, row): each query head and each key head becomes rmsnorm(head) with its weight
// (head_dim); values are copied, or with `values` normed without a weight. Where the query's weight
// is (heads * head_dim) and the key's (kv_heads * head_dim) all query heads are normed together,
// and all key heads (OLMo 2).
Value qk_norm(Program& p, Value qkv, Value query_weight, Value key_weight, const Heads& heads,
              const RmsNorm& options, bool values = false);

// rstd (tokens, heads + kv_heads), with values' (tokens, heads + 2 kv_heads), is kept for the
// backward pass; (2, tokens) where heads are normed together.
SFT_KERNEL(void, qk_norm_forward, const Tensor& qkv, const Tensor& query_weight,
           const Tensor& key_weight, const Heads& heads, const RmsNorm& options, bool values,
           Tensor& y, Tensor& rstd);
SFT_KERNEL(void, qk_norm_backward, const Tensor& grad_y, const Tensor& qkv,
           const Tensor& query_weight, const Tensor& key_weight, const Tensor& rstd,
           const Heads& heads, const RmsNorm& options, bool values, Tensor& grad_qkv,
           Tensor& grad_query_weight, bool accumulate_query, Tensor& grad_key_weight,
           bool accumulate_key);

}  // namespace sft
