// Root-mean-square norm, alone or with the residual addition before it.
// Zhang and Sennrich, "Root mean square layer normalization" (2019).
#pragma once

#include <utility>

#include "graph/program.h"

namespace sft {

struct RmsNorm {
  float eps = 1e-6F;
  float weight_offset = 0.0F;  // Gemma multiplies by 1 + weight
};

// y = x / sqrt(mean(x^2) + eps) * (weight_offset + weight); x (rows, hidden), weight (hidden).
Value rmsnorm(Program& p, Value x, Value weight, const RmsNorm& options);

// sum = residual + delta; returns {sum, rmsnorm(sum)}.
std::pair<Value, Value> add_rmsnorm(Program& p, Value residual, Value delta, Value weight,
                                    const RmsNorm& options);

namespace cpu {
// `delta` may have no data; then `sum` is not written. rstd (rows) is kept for the backward pass.
void rmsnorm_forward(Device& device, const Tensor& x, const Tensor& delta, const Tensor& weight,
                     const RmsNorm& options, const Tensor& y, const Tensor& rstd,
                     const Tensor& sum);
// grad_x = grad_sum (when it has data) + the norm's gradient; grad_x may be grad_sum's memory.
void rmsnorm_backward(Device& device, const Tensor& grad_y, const Tensor& x, const Tensor& weight,
                      const Tensor& rstd, const Tensor& grad_sum, const RmsNorm& options,
                      const Tensor& grad_x, const Tensor& grad_weight, bool accumulate_weight);
}  // namespace cpu

}  // namespace sft
