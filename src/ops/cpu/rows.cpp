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

SFT_SIMD void widen_add_row(const float* x, double* y, int64_t n, float scale) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    y[i] += static_cast<double>(x[i] * scale);
  }
}

SFT_SIMD float dot(const float* x, const float* y, int64_t n) {
  return static_cast<float>(block_sum(n, [&](int64_t i) { return x[i] * y[i]; }));
}

SFT_SIMD float norm_row(const float* x, const float* weight, float* y, int64_t n, float eps,
                        float offset) {
  const double squares = block_sum(n, [&](int64_t i) { return x[i] * x[i]; });
  const auto rstd = static_cast<float>(1.0 / std::sqrt(squares / static_cast<double>(n) + eps));
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
                                double* grad_weight, int64_t n) {
  const auto mean = static_cast<float>(
      block_sum(n, [&](int64_t i) { return grad_y[i] * (offset + weight[i]) * x[i]; }) /
      static_cast<double>(n));
  const float shift = mean * rstd * rstd * rstd;
  if (grad_weight != nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      grad_weight[i] += static_cast<double>(grad_y[i] * x[i] * rstd);
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
