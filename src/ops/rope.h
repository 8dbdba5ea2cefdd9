// Rotary position embedding in the half-split form of Hugging Face's models.
// Su et al., "RoFormer" (2021).
#pragma once

#include <vector>

#include "device/kernel.h"
#include "graph/program.h"
#include "ops/qk_norm.h"

namespace sft {

// How positions turn into angles: angle(position, i) = position * inv_freq[i].
struct RopeFrequencies {
  std::vector<float> inv_freq;    // (head_dim / 2)
  float attention_factor = 1.0F;  // yarn multiplies cosine and sine by it
  bool operator==(const RopeFrequencies&) const = default;
};

// positions (tokens) i32 -> (tokens, head_dim): cosines, then sines. Made once for all layers.
Value rope_table(Program& p, Value positions, const RopeFrequencies& frequencies);

// Rotates the query and key heads of qkv (tokens, heads.row()); over qkv's memory where it can.
Value rope(Program& p, Value qkv, Value table, const Heads& heads);

SFT_KERNEL(void, rope_table_forward, const Tensor& positions, const RopeFrequencies& frequencies,
           Tensor& table);
// The backward pass is the rotation by the negative angle. y may be x.
SFT_KERNEL(void, rope_rotate, const Tensor& x, const Tensor& table, const Heads& heads,
           bool inverse, Tensor& y);

}  // namespace sft
