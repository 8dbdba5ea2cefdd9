// The gated MLP's activation: y = act(gate) * up.
#pragma once

#include "graph/program.h"

namespace sft {

enum class Activation { silu, gelu_tanh };

// gate_up (tokens, 2 intermediate): gate in the first half of each row, up in the second
// -> (tokens, intermediate). Shazeer, "GLU variants improve transformer" (2020).
Value gated_activation(Program& p, Value gate_up, Activation activation);

namespace cpu {
void gated_activation_forward(Device& device, const Tensor& gate_up, Activation activation,
                              const Tensor& y);
// grad_gate_up may be gate_up's own memory.
void gated_activation_backward(Device& device, const Tensor& grad_y, const Tensor& gate_up,
                               Activation activation, const Tensor& grad_gate_up);
}  // namespace cpu

}  // namespace sft
