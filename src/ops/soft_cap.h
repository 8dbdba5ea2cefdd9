// Gemma 2's bound on logits: cap tanh(x / cap), which is x where it is small.
#pragma once

#include "device/kernel.h"
#include "graph/program.h"

namespace sft {

// x (rows, n) -> the same; a cap of 0 is none. For programs that are not differentiated: the loss
// and attention have their own.
Value soft_cap(Program& p, Value x, float cap);

SFT_KERNEL(void, soft_cap, const Tensor& x, float cap, Tensor& y);

}  // namespace sft
