// Rotary position embedding: of all of a head or of its first part, in pairs half of that apart as
// Hugging Face's models mostly have it, or of neighbours (interleaved).
// Su et al., "RoFormer" (2021).
#pragma once

#include <vector>

#include "device/kernel.h"
#include "graph/program.h"
#include "ops/qk_norm.h"

namespace sft {

// How positions turn into angles: angle(position, i) = position * inv_freq[i].
struct RopeFrequencies {
  std::vector<float> inv_freq;    // (rotated / 2)
  float attention_factor = 1.0F;  // yarn and longrope multiply cosine and sine by it
  // For documents of more than `short_length` tokens; empty: the same. Of longrope.
  std::vector<float> long_inv_freq{};
  // Above 0: documents of more than `short_length` tokens stretch the base by this factor and their
  // length (dynamic NTK): inv_freq[i] r^(-2i / (rotated - 2)), r = factor length / short - factor
  // + 1.
  float dynamic_factor = 0.0F;
  int64_t short_length = 0;
  // Above 0: queries are multiplied by 1 + query_beta log(1 + floor(position / query_period)),
  // Llama 4's and Ministral's scaling.
  float query_beta = 0.0F;
  int64_t query_period = 1;

  int64_t rotated() const { return 2 * static_cast<int64_t>(inv_freq.size()); }
  bool by_length() const { return !long_inv_freq.empty() || dynamic_factor > 0.0F; }
  bool operator==(const RopeFrequencies&) const = default;
};

// How the rows of qkv are turned.
struct Rotation {
  Heads heads;
  bool interleaved = false;  // pairs are neighbours
};

// positions (tokens) i32 -> (tokens, rotated): cosines, then sines; where queries are scaled
// (tokens, 2 rotated), first those for keys. Made once for all layers. `documents`: the
// document_table, or where documents start, and the end; null: all tokens are the end of one.
Value rope_table(Program& p, Value positions, Value documents, const RopeFrequencies& frequencies);

// Rotates the query and key heads of qkv (tokens, heads.row()); over qkv's memory where it can.
// `rotated` as in the table's frequencies.
Value rope(Program& p, Value qkv, Value table, const Rotation& rotation, int64_t rotated);

SFT_KERNEL(void, rope_table_forward, const Tensor& positions, const Tensor& documents,
           const RopeFrequencies& frequencies, Tensor& table);
// The backward pass is the rotation by the negative angle. y may be x.
SFT_KERNEL(void, rope_rotate, const Tensor& x, const Tensor& table, const Rotation& rotation,
           int64_t rotated, bool inverse, Tensor& y);

}  // namespace sft
