// Loops over one row that several CPU kernels share.
#pragma once

#include <cstdint>

namespace sft::cpu {

float max_row(const float* x, int64_t n);
// x *= factor
void scale_row(float* x, int64_t n, float factor);
// y += x
void add_row(const float* x, float* y, int64_t n);
// y += scale * x, in float64: for sums over tokens, of which there may be any number
void widen_add_row(const float* x, double* y, int64_t n, float scale = 1.0F);
float dot(const float* x, const float* y, int64_t n);

// y = x rstd (offset + weight), rstd = 1 / sqrt(mean(x^2) + eps); returns rstd.
float norm_row(const float* x, const float* weight, float* y, int64_t n, float eps, float offset);
// Its gradient: grad_x = grad_sum (when not null) + the norm's, grad_weight (when not null) is
// added to: in float64, because it sums over all tokens. grad_x may be grad_sum.
void norm_row_backward(const float* grad_y, const float* x, const float* weight, float rstd,
                       float offset, const float* grad_sum, float* grad_x, double* grad_weight,
                       int64_t n);

}  // namespace sft::cpu
