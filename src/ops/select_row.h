// One row of a tensor, for the logits of the next token alone.
#pragma once

#include "graph/program.h"

namespace sft {

// x (rows, width), row (1) i32 -> (1, width). Inference only.
Value select_row(Program& p, Value x, Value row);

namespace cpu {
void select_row(Device& device, const Tensor& x, const Tensor& row, const Tensor& y);
}  // namespace cpu

}  // namespace sft
