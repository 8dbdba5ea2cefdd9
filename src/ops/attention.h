// Causal self-attention over documents of different lengths laid end to end: a token sees the
// tokens before it in its own document, at most `window` back. Grouped queries share keys.
#pragma once

#include "graph/program.h"
#include "ops/qk_norm.h"

namespace sft {

struct Attention {
  Heads heads;
  float scale = 1.0F;   // of the scores, usually 1 / sqrt(head_dim)
  int window = 0;       // tokens seen, oneself included; 0 = all
  int64_t longest = 0;  // no document has more tokens; 0: not known
};

// documents (documents + 1) i32: where each document starts, and the end; empty documents are
// allowed -> (5, documents + 1) i32, made once for all layers: the same; the documents' lengths;
// and where their rows start in qkv, in the output and in log_sum, in elements.
Value document_table(Program& p, Value documents, const Heads& heads);

// qkv (tokens, heads.row()), table as above -> (tokens, heads * head_dim). Rows after the last
// document become 0.
Value attention(Program& p, Value qkv, Value table, const Attention& options);

// For generation: one document whose earlier keys and values stand in `cache`
// (capacity, 2 * kv_heads * head_dim); `past` (1) i32 says how many. The new ones are added.
Value cached_attention(Program& p, Value qkv, Value cache, Value past, const Attention& options);

namespace cpu {
void document_table(Device& device, const Tensor& documents, const Heads& heads,
                    const Tensor& table);
// log_sum: the logarithm of each row's softmax denominator, for the backward pass: (heads, tokens)
// here, (tokens, heads) on a GPU.
void attention_forward(Device& device, const Tensor& qkv, const Tensor& table,
                       const Attention& options, const Tensor& y, const Tensor& log_sum);
// workspace (heads, tokens, 2 * head_dim) here: key and value gradients by query head.
void attention_backward(Device& device, const Tensor& grad_y, const Tensor& qkv, const Tensor& y,
                        const Tensor& log_sum, const Tensor& table, const Attention& options,
                        const Tensor& grad_qkv, const Tensor& workspace);
void cached_attention_forward(Device& device, const Tensor& qkv, const Tensor& cache,
                              const Tensor& past, const Attention& options, const Tensor& y);
}  // namespace cpu

}  // namespace sft
