// The whole gated MLP: y = down(act(gate) * up), gate and up being the halves of gate_up(x).
#pragma once

#include "ops/gated_activation.h"
#include "ops/linear.h"

namespace sft {

// x (tokens, hidden); gate_up.weight (2 intermediate, hidden), gate's rows first; down.weight
// (hidden, intermediate) -> (tokens, hidden). The same as linear, gated_activation, linear, and
// made of those where a layer has a bias or a LoRA; else its kernels may join the activation to
// the product before it, forward and backward.
Value gated_mlp(Program& p, Value x, const Linear& gate_up, const Linear& down,
                Activation activation);

// gate_up (tokens, 2 intermediate) = x weight^T; y (tokens, intermediate) = act(gate) * up.
SFT_KERNEL(void, gated_mlp_forward, const Tensor& x, const Tensor& weight, Activation activation,
           Tensor& gate_up, Tensor& y);
// grad_gate_up: the gradient of gate_up, given that of down(act(gate) * up); weight is down's.
// It may be gate_up's own memory. workspace (tokens, intermediate) has no values to keep.
SFT_KERNEL(void, gated_mlp_backward, const Tensor& grad_y, const Tensor& weight,
           const Tensor& gate_up, Activation activation, Tensor& grad_gate_up, Tensor& workspace);

}  // namespace sft
