// The gated MLP's activation: y = act(gate) * up.
#pragma once

#include "device/kernel.h"
#include "graph/program.h"
#include "ops/attributes.h"

namespace sft {

// gate_up (tokens, 2 intermediate): gate in the first half of each row, up in the second
// -> (tokens, intermediate). Shazeer, "GLU variants improve transformer" (2020).
Value gated_activation(Program& p, Value gate_up, Activation activation);

SFT_KERNEL(void, gated_activation_forward, const Tensor& gate_up, Activation activation, Tensor& y);
// grad_gate_up may be gate_up's own memory.
SFT_KERNEL(void, gated_activation_backward, const Tensor& grad_y, const Tensor& gate_up,
           Activation activation, Tensor& grad_gate_up);

}  // namespace sft
