#include <algorithm>
#include <vector>

#include "ops/cpu/gated_row.h"
#include "ops/cpu/simd.h"
#include "ops/gated_activation.h"
#include "ops/plain_activation.h"

namespace sft::cpu {

namespace {

constexpr int64_t kPiece = 1024;  // of a plain activation, in values

constexpr float kSqrt2OverPi = 0.7978845608F;
constexpr float kCubic = 0.044715F;

SFT_SIMD void silu_row(const float* gate, const float* up, float* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    y[i] = gate[i] * fast_sigmoid(gate[i]) * up[i];
  }
}

SFT_SIMD void silu_row_backward(const float* g, const float* gate, const float* up,
                                float* grad_gate, float* grad_up, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float x = gate[i];
    const float s = fast_sigmoid(x);
    const float u = up[i];
    grad_gate[i] = g[i] * u * s * (1.0F + x * (1.0F - s));
    grad_up[i] = g[i] * x * s;
  }
}

// 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), PyTorch's approximate="tanh".
SFT_SIMD void gelu_row(const float* gate, const float* up, float* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float x = gate[i];
    const float t = fast_tanh(kSqrt2OverPi * (x + kCubic * x * x * x));
    y[i] = 0.5F * x * (1.0F + t) * up[i];
  }
}

SFT_SIMD void gelu_row_backward(const float* g, const float* gate, const float* up,
                                float* grad_gate, float* grad_up, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float x = gate[i];
    const float t = fast_tanh(kSqrt2OverPi * (x + kCubic * x * x * x));
    const float inner = kSqrt2OverPi * (1.0F + 3.0F * kCubic * x * x);
    const float u = up[i];
    grad_gate[i] = g[i] * u * (0.5F * (1.0F + t) + 0.5F * x * (1.0F - t * t) * inner);
    grad_up[i] = g[i] * 0.5F * x * (1.0F + t);
  }
}

}  // namespace

void gated_row(const float* gate, const float* up, float* y, int64_t n, Activation activation) {
  (activation == Activation::silu ? silu_row : gelu_row)(gate, up, y, n);
}

void gated_activation_forward(Device& device, const Tensor& gate_up, Activation activation,
                              Tensor& y) {
  const int64_t n = y.shape[1];
  device.threads().parallel_for(y.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* gate = gate_up.f32() + t * 2 * n;
      gated_row(gate, gate + n, y.f32() + t * n, n, activation);
    }
  });
}

void gated_activation_backward(Device& device, const Tensor& grad_y, const Tensor& gate_up,
                               Activation activation, Tensor& grad_gate_up) {
  const int64_t n = grad_y.shape[1];
  const auto row = activation == Activation::silu ? silu_row_backward : gelu_row_backward;
  device.threads().parallel_for(grad_y.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* gate = gate_up.f32() + t * 2 * n;
      float* grad = grad_gate_up.f32() + t * 2 * n;
      row(grad_y.f32() + t * n, gate, gate + n, grad, grad + n, n);
    }
  });
}

// As a gated one whose other half is ones.
void plain_activation_forward(Device& device, const Tensor& x, Activation activation, Tensor& y) {
  const std::vector<float> ones(kPiece, 1.0F);
  const auto row = activation == Activation::silu ? silu_row : gelu_row;
  device.threads().parallel_for(x.shape.elements(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += kPiece) {
      row(x.f32() + i, ones.data(), y.f32() + i, std::min(kPiece, end - i));
    }
  });
}

void plain_activation_backward(Device& device, const Tensor& grad_y, const Tensor& x,
                               Activation activation, Tensor& grad_x) {
  const std::vector<float> ones(kPiece, 1.0F);
  const auto row = activation == Activation::silu ? silu_row_backward : gelu_row_backward;
  device.threads().parallel_for(x.shape.elements(), [&](int64_t begin, int64_t end) {
    std::vector<float> unused(kPiece);
    for (int64_t i = begin; i < end; i += kPiece) {
      row(grad_y.f32() + i, x.f32() + i, ones.data(), grad_x.f32() + i, unused.data(),
          std::min(kPiece, end - i));
    }
  });
}

}  // namespace sft::cpu
