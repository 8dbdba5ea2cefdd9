// Layer norm, with or without a bias: StarCoder2 and Cohere2.
// Ba, Kiros and Hinton, "Layer normalization" (2016).
#pragma once

#include "device/kernel.h"
#include "graph/program.h"

namespace sft {

// y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias; x (rows, hidden), weight and bias
// (hidden); a null bias counts as zeros.
Value layer_norm(Program& p, Value x, Value weight, Value bias, float eps);

// moments (rows, 2): each row's mean and 1 / sqrt(var + eps), for the backward pass. `bias` may
// have no data.
SFT_KERNEL(void, layer_norm_forward, const Tensor& x, const Tensor& weight, const Tensor& bias,
           float eps, Tensor& y, Tensor& moments);
// grad_x = grad_sum (when it has data) + the norm's gradient; grad_x may be grad_sum's memory.
// Weight's and bias's may have no data.
SFT_KERNEL(void, layer_norm_backward, const Tensor& grad_y, const Tensor& x, const Tensor& weight,
           const Tensor& moments, const Tensor& grad_sum, Tensor& grad_x, Tensor& grad_weight,
           bool accumulate_weight, Tensor& grad_bias, bool accumulate_bias);

}  // namespace sft
