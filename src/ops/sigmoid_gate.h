// What a gate lets through: of attention's heads (Qwen3-Next), of an expert that all tokens share.
#pragma once

#include "device/kernel.h"
#include "graph/program.h"

namespace sft {

// y = x * sigmoid(gate); x (rows, n), gate (rows, gates): each gate is that of n / gates columns.
Value sigmoid_gate(Program& p, Value x, Value gate);

SFT_KERNEL(void, sigmoid_gate_forward, const Tensor& x, const Tensor& gate, Tensor& y);
SFT_KERNEL(void, sigmoid_gate_backward, const Tensor& grad_y, const Tensor& x, const Tensor& gate,
           Tensor& grad_x, Tensor& grad_gate);

}  // namespace sft
