// Attention of one new token of each text, in programs that generate: rotation, the cache and the
// keys' shares in one op (Dao et al., "Flash-Decoding for long-context inference", 2023).
#pragma once

#include "ops/attention.h"
#include "ops/rope.h"

namespace sft {

// Whether that op takes heads like these; else rope and cached_attention do.
bool takes_step_attention(const Program& p, const Heads& heads, int64_t rotated, bool interleaved);

// As rope (not of neighbours) and then cached_attention on one row for each text. `table`: the rope
// table, or null where nothing is rotated.
Value step_attention(Program& p, Value qkv, Value table, int64_t rotated, Value cache, Value past,
                     const Attention& options);

// workspace (texts, heads, shares, head_dim + 2) on a GPU: what each share of the keys gives.
SFT_KERNEL(void, step_attention_forward, const Tensor& qkv, const Tensor& table, int64_t rotated,
           Tensor& cache, const Tensor& past, const Attention& options, Tensor& y,
           Tensor& workspace);

}  // namespace sft
