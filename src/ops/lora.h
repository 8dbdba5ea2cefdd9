// The second half of a low-rank adapter: what its rank's values add to an output. Hu et al.,
// "LoRA" (2021). The first half, x A^T, is a product like any other (ops/linear.h).
#pragma once

#include <vector>

#include "device/kernel.h"
#include "graph/program.h"
#include "ops/dropout.h"

namespace sft {

// Rows [first_row, first_row + rows) of a weight have an adapter of their own, scale * B A.
struct LoraPiece {
  int64_t first_row = 0, rows = 0;
  float scale = 1.0F;
};

// The adapters of one weight (out, in) that have the same rank: piece i has rows i * rank and on of
// `a`, and its rows of `b`, which follow those of the piece before.
struct Lora {
  Value a;  // (pieces * rank, in); null: none, b (rows, in) is a weight of one piece by itself
  Value b;  // (all pieces' rows, rank)
  std::vector<LoraPiece> pieces;
  Dropout dropout{};  // of x, before A
  Value magnitude{};  // (all pieces' rows), float32: the rows' lengths (ops/dora.h); null: none
};

// Whether adapters' gradients run beside other instructions. What they read then stays for longer,
// and it is as large as a whole layer's: not where memory is short.
bool adapters_run_aside(const Program& p);

// The backward instructions of y = ... + lora_up(low, b): given y's gradient, b's is made, and the
// one of low is returned (null where nothing needs it).
Value emit_lora_up_backward(Program& p, Value grad_y, Value low, const Lora& lora);
void emit_lora_up(Program& p, Value low, const Lora& lora, Output y);

// y[:, rows of piece i] (+)= scale_i low_i B_i^T; low (tokens, pieces * rank), y (tokens, out).
SFT_KERNEL(void, lora_up, const Tensor& low, const Tensor& b, const std::vector<LoraPiece>& pieces,
           Tensor& y, bool accumulate);
// grad_low_i = scale_i grad_y[:, rows of piece i] B_i
SFT_KERNEL(void, lora_up_backward_input, const Tensor& grad_y, const Tensor& b,
           const std::vector<LoraPiece>& pieces, Tensor& grad_low);
// grad_B_i (+)= scale_i grad_y[:, rows of piece i]^T low_i
SFT_KERNEL(void, lora_up_backward_weight, const Tensor& grad_y, const Tensor& low,
           const std::vector<LoraPiece>& pieces, Tensor& grad_b, bool accumulate);

}  // namespace sft
