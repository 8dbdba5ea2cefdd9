// Some of a tensor's rows, in an order that a run gives: the trained ones in the last block, or the
// last one alone, for the logits of the next token.
#pragma once

#include "device/kernel.h"
#include "graph/program.h"

namespace sft {

// x (tokens, width), rows (count) i32 -> (count, width): row i is x's row rows[i], zeros where that
// is negative. No row is named twice.
Value gather_rows(Program& p, Value x, Value rows);

SFT_KERNEL(void, gather_rows_forward, const Tensor& x, const Tensor& rows, Tensor& y);
// grad_x (+)= grad_y's rows where they came from; zeros elsewhere unless `accumulate`.
SFT_KERNEL(void, gather_rows_backward, const Tensor& grad_y, const Tensor& rows, Tensor& grad_x,
           bool accumulate);

}  // namespace sft
