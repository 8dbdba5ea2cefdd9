// Rows of the embedding table, by token id.
#pragma once

#include "device/kernel.h"
#include "graph/program.h"

namespace sft {

// tokens (tokens) i32, weight (vocab, hidden) -> (tokens, hidden), times `scale` (Gemma scales by
// sqrt(hidden); others by 1). A token id must be below vocab: the loader checks it. The row of
// `padding` (-1: none) gets no gradient here, as torch.nn.Embedding's padding_idx has it.
Value embedding(Program& p, Value tokens, Value weight, float scale, int64_t padding = -1);

SFT_KERNEL(void, embedding_forward, const Tensor& tokens, const Tensor& weight, float scale,
           Tensor& y);
// Adds to, or replaces, the whole gradient of the table.
SFT_KERNEL(void, embedding_backward, const Tensor& grad_y, const Tensor& tokens, float scale,
           int64_t padding, Tensor& grad_weight, bool accumulate);

}  // namespace sft
