// Root-mean-square norm, alone or with the residual addition before it.
// Zhang and Sennrich, "Root mean square layer normalization" (2019).
#pragma once

#include <utility>

#include "device/kernel.h"
#include "graph/program.h"
#include "ops/attributes.h"

namespace sft {

// y = x / sqrt(mean(x^2) + eps) * (weight_offset + weight); x (rows, hidden), weight (hidden), or
// (n) where each n values of a row are normed by themselves.
Value rmsnorm(Program& p, Value x, Value weight, const RmsNorm& options);

// sum = residual + delta; returns {sum, rmsnorm(sum)}.
std::pair<Value, Value> add_rmsnorm(Program& p, Value residual, Value delta, Value weight,
                                    const RmsNorm& options);

// `delta` may have no data; then `sum` is not written. rstd (of every
// n values one) is kept for the backward pass.
SFT_KERNEL(void, rmsnorm_forward, const Tensor& x, const Tensor& delta, const Tensor& weight,
           const RmsNorm& options, Tensor& y, Tensor& rstd, Tensor& sum);
// grad_x = grad_sum (when it has data) + the norm's gradient; grad_x may be grad_sum's memory.
SFT_KERNEL(void, rmsnorm_backward, const Tensor& grad_y, const Tensor& x, const Tensor& weight,
           const Tensor& rstd, const Tensor& grad_sum, const RmsNorm& options, Tensor& grad_x,
           Tensor& grad_weight, bool accumulate_weight);

}  // namespace sft
