// Some of a tensor's rows, in an order that a run gives: the trained ones in the last block, or the
// last one alone, for the logits of the next token.
#pragma once

#include "graph/program.h"

namespace sft {

// x (tokens, width), rows (count) i32 -> (count, width): row i is x's row rows[i], zeros where that
// is negative. No row is named twice.
Value gather_rows(Program& p, Value x, Value rows);

namespace cpu {
void gather_rows_forward(Device& device, const Tensor& x, const Tensor& rows, const Tensor& y);
// grad_x (+)= grad_y's rows where they came from; zeros elsewhere unless `accumulate`.
void gather_rows_backward(Device& device, const Tensor& grad_y, const Tensor& rows,
                          const Tensor& grad_x, bool accumulate);
}  // namespace cpu

}  // namespace sft
