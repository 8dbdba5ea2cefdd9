#include "ops/cpu/rows.h"

#include <cmath>

#include "ops/cpu/simd.h"

namespace sft::cpu {

SFT_SIMD float max_row(const float* x, int64_t n) {
  float top = x[0];
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < n; ++i) {
    top = top > x[i] ? top : x[i];
  }
  return top;
}

SFT_SIMD void scale_row(float* x, int64_t n, float factor) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    x[i] *= factor;
  }
}

SFT_SIMD void add_row(const float* x, float* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    y[i] += x[i];
  }
}

SFT_SIMD float dot(const float* x, const float* y, int64_t n) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) {
    sum += x[i] * y[i];
  }
  return sum;
}

SFT_SIMD float norm_row(const float* x, const float* weight, float* y, int64_t n, float eps,
                        float offset) {
  float squares = 0.0F;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < n; ++i) {
    squares += x[i] * x[i];
  }
  const float rstd = 1.0F / std::sqrt(squares / static_cast<float>(n) + eps);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    y[i] = x[i] * rstd * (offset + weight[i]);
  }
  return rstd;
}

// With xhat = x rstd and g = grad_y (offset + weight):
// grad_x = rstd (g - xhat mean(g xhat)); grad_weight += grad_y xhat.
SFT_SIMD void norm_row_backward(const float* grad_y, const float* x, const float* weight,
                                float rstd, float offset, const float* grad_sum, float* grad_x,
                                float* grad_weight, int64_t n) {
  float dot = 0.0F;
#pragma omp simd reduction(+ : dot)
  for (int64_t i = 0; i < n; ++i) {
    dot += grad_y[i] * (offset + weight[i]) * x[i];
  }
  const float shift = dot / static_cast<float>(n) * rstd * rstd * rstd;
  if (grad_weight != nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      grad_weight[i] += grad_y[i] * x[i] * rstd;
    }
  }
  if (grad_sum != nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      grad_x[i] = grad_sum[i] + rstd * grad_y[i] * (offset + weight[i]) - shift * x[i];
    }
  } else {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      grad_x[i] = rstd * grad_y[i] * (offset + weight[i]) - shift * x[i];
    }
  }
}

}  // namespace sft::cpu
