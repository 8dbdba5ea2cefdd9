// Rows of the embedding table, by token id.
#pragma once

#include "graph/program.h"

namespace sft {

// tokens (tokens) i32, weight (vocab, hidden) -> (tokens, hidden), times `scale` (Gemma scales by
// sqrt(hidden); others by 1). A token id must be below vocab: the loader checks it. The row of
// `padding` (-1: none) gets no gradient here, as torch.nn.Embedding's padding_idx has it.
Value embedding(Program& p, Value tokens, Value weight, float scale, int64_t padding = -1);

namespace cpu {
void embedding_forward(Device& device, const Tensor& tokens, const Tensor& weight, float scale,
                       const Tensor& y);
// Adds to, or replaces, the whole gradient of the table.
void embedding_backward(Device& device, const Tensor& grad_y, const Tensor& tokens, float scale,
                        int64_t padding, const Tensor& grad_weight, bool accumulate);
}  // namespace cpu

}  // namespace sft
