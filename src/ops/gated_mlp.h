// The whole gated MLP: y = down(act(gate) * up), gate and up being the halves of gate_up(x).
#pragma once

#include "ops/gated_activation.h"
#include "ops/linear.h"

namespace sft {

// x (tokens, hidden); gate_up.weight (2 intermediate, hidden), gate's rows first; down.weight
// (hidden, intermediate) -> (tokens, hidden). The same as linear, gated_activation, linear, and
// made of those where a layer has a bias or several adapters; else its kernels may join the
// activation to the product before it, forward and backward.
Value gated_mlp(Program& p, Value x, const Linear& gate_up, const Linear& down,
                Activation activation);

// gate_up (tokens, 2 intermediate) = x weight^T, and what an adapter adds to it (ops/lora.h;
// without one `low` and `b` have no memory); y (tokens, intermediate) = act(gate) * up.
SFT_KERNEL(void, gated_mlp_forward, const Tensor& x, const Tensor& weight, const Tensor& low,
           const Tensor& b, const std::vector<LoraPiece>& pieces, Activation activation,
           Tensor& gate_up, Tensor& y);
// grad_gate_up: the gradient of gate_up, given that of down(act(gate) * up); weight is down's.
// Where that has an adapter, `grad_low` and `a` are the gradient of its middle and its first
// matrix. It may be gate_up's own memory. workspace (any number of tokens, intermediate) has no
// values to keep.
SFT_KERNEL(void, gated_mlp_backward, const Tensor& grad_y, const Tensor& weight,
           const Tensor& grad_low, const Tensor& a, const Tensor& gate_up, Activation activation,
           Tensor& grad_gate_up, Tensor& workspace);

}  // namespace sft
