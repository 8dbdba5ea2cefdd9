// The norm behind the gated delta rule: each head normed, then let through by a gate.
#pragma once

#include "device/kernel.h"
#include "graph/program.h"

namespace sft {

// y = x / sqrt(mean(x^2) + eps) * weight * silu(gate), the mean over each of a row's heads of
// weight's size; x and gate (rows, heads * dim), weight (dim).
Value gated_norm(Program& p, Value x, Value gate, Value weight, float eps);

// rstd (rows, heads) is kept for the backward pass.
SFT_KERNEL(void, gated_norm_forward, const Tensor& x, const Tensor& gate, const Tensor& weight,
           float eps, Tensor& y, Tensor& rstd);
SFT_KERNEL(void, gated_norm_backward, const Tensor& grad_y, const Tensor& x, const Tensor& gate,
           const Tensor& weight, const Tensor& rstd, Tensor& grad_x, Tensor& grad_gate,
           Tensor& grad_weight, bool accumulate_weight);

}  // namespace sft
