// An adapter on a table of embeddings: y += scale B A[:, token]. PEFT keeps its halves the other
// way round than a linear layer's: A (rank, vocab) has a column for each word.
#pragma once

#include "device/kernel.h"
#include "graph/program.h"
#include "ops/lora.h"

namespace sft {

// Adds to y (tokens, hidden), which `embedding` has made. lora.a (rank, vocab), lora.b (hidden,
// rank), one piece. The column of `padding` (-1: none) gets no gradient.
void add_embedding_lora(Program& p, Value tokens, const Lora& lora, int64_t padding, Value y);

// y (tokens, rank) = the tokens' columns of table (rank, vocab)
SFT_KERNEL(void, gather_columns, const Tensor& tokens, const Tensor& table, Tensor& y);
// y (n, m) (+)= x (m, n) transposed; both float32.
SFT_KERNEL(void, transpose, const Tensor& x, Tensor& y, bool accumulate);

}  // namespace sft
