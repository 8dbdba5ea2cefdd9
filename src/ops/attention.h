// Causal self-attention over documents of different lengths laid end to end: a token sees the
// tokens before it in its own document, at most `window` back. Grouped queries share keys.
#pragma once

#include <algorithm>

#include "device/kernel.h"
#include "graph/program.h"
#include "ops/attributes.h"
#include "ops/dropout.h"

namespace sft {

struct Attention {
  Heads heads;
  float scale = 1.0F;   // of the scores, usually 1 / sqrt(head_dim)
  int window = 0;       // tokens seen, oneself included; 0 = all
  int64_t longest = 0;  // no document has more tokens; 0: not known
  float cap = 0.0F;     // of the scores: cap tanh(score / cap), as in Gemma 2; 0: none
  // Of the weights that softmax gives: one is zero, or divided by 1 - rate.
  Dropout dropout{};
};

// documents (documents + 1) i32: where each document starts, and the end, of `tokens` tokens; empty
// documents are allowed -> (rows, documents + 1) i32, made once for all layers: the same; the
// documents' lengths; and where their rows start in qkv, in the output and in log_sum, in elements.
// On a GPU also the AttentionTiles.
Value document_table(Program& p, Value documents, const Heads& heads, int64_t tokens);

// The tiles that a GPU's kernels take the documents apart into, in a table after its 5 rows: for
// each of three kernels a list of 4 values a tile (see ops/cuda/attention_tiles.cuh).
struct AttentionTiles {
  int64_t offset;  // of the first list, in values
  int64_t most;    // tiles of a list
  AttentionTiles(const Heads& heads, int64_t tokens, int64_t documents)
      : offset((5 * (documents + 1) + 3) / 4 * 4),
        most(tokens / std::max(1, kRows * heads.kv_heads / heads.heads) + documents) {}
  int64_t values() const { return offset + 3 * 4 * most; }
  static constexpr int kRows = 128;  // no tile has fewer, in tokens times query heads
};

// qkv (tokens, heads.row()), table as above -> (tokens, heads * head_dim). Rows after the last
// document become 0. sinks (heads) f32 or null: see attention_sinks.h.
Value attention(Program& p, Value qkv, Value table, const Attention& options, Value sinks = {});

// For generation: documents with as many new tokens each; `past` (documents, 2) i32: the row of
// `cache` (rows, 2 * kv_heads * head_dim) where each begins, and how many it has. New ones are
// added.
Value cached_attention(Program& p, Value qkv, Value cache, Value past, const Attention& options,
                       Value sinks = {});

SFT_KERNEL(void, document_table, const Tensor& documents, const Heads& heads, int64_t tokens,
           Tensor& table);
// log_sum: the logarithm of each row's softmax denominator, for the backward pass: (heads, tokens)
// here, (tokens, heads) on a GPU. keys and seed: see DropoutInputs; without data where the rate is
// 0.
SFT_KERNEL(void, attention_forward, const Tensor& qkv, const Tensor& table, const Tensor& keys,
           const Tensor& seed, const Attention& options, Tensor& y, Tensor& log_sum);
// workspace (heads, tokens, 2 * head_dim) here: key and value gradients by query head. On a GPU
// (2 * tokens * heads + 256): what its second kernel takes over from its first.
SFT_KERNEL(void, attention_backward, const Tensor& grad_y, const Tensor& qkv, const Tensor& y,
           const Tensor& log_sum, const Tensor& table, const Tensor& keys, const Tensor& seed,
           const Attention& options, Tensor& grad_qkv, Tensor& workspace);
// What it works in beside that, in a program of so many tokens (Device::reserve_workspace): bytes.
SFT_KERNEL(int64_t, attention_workspace, const Heads& heads, float scale, DType compute,
           int64_t tokens);
// sinks may have no data.
SFT_KERNEL(void, cached_attention_forward, const Tensor& qkv, Tensor& cache, const Tensor& past,
           const Tensor& sinks, const Attention& options, Tensor& y);

}  // namespace sft
