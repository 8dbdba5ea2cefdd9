// The activation of an MLP without a gate: y = gelu(x), StarCoder2's.
#pragma once

#include "device/kernel.h"
#include "graph/program.h"
#include "ops/gated_activation.h"

namespace sft {

// x (tokens, intermediate) -> the same.
Value plain_activation(Program& p, Value x, Activation activation);

SFT_KERNEL(void, plain_activation_forward, const Tensor& x, Activation activation, Tensor& y);
// grad_x may be x's own memory.
SFT_KERNEL(void, plain_activation_backward, const Tensor& grad_y, const Tensor& x,
           Activation activation, Tensor& grad_x);

}  // namespace sft
