#include "ops/cpu/simd.h"
#include "ops/sigmoid_gate.h"

namespace sft::cpu {

namespace {

// Each of `gates` values for `width` of x.
SFT_SIMD void forward_row(const float* x, const float* gate, float* y, int64_t gates,
                          int64_t width) {
  for (int64_t g = 0; g < gates; ++g) {
    const float open = fast_sigmoid(gate[g]);
#pragma omp simd
    for (int64_t i = g * width; i < (g + 1) * width; ++i) {
      y[i] = x[i] * open;
    }
  }
}

SFT_SIMD void forward_row_of_ones(const float* x, const float* gate, float* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    y[i] = x[i] * fast_sigmoid(gate[i]);
  }
}

SFT_SIMD void backward_row(const float* grad, const float* x, const float* gate, float* grad_x,
                           float* grad_gate, int64_t gates, int64_t width) {
  for (int64_t g = 0; g < gates; ++g) {
    const float open = fast_sigmoid(gate[g]);
    const int64_t at = g * width;
    const double sum = block_sum(width, [&](int64_t i) { return grad[at + i] * x[at + i]; });
#pragma omp simd
    for (int64_t i = at; i < at + width; ++i) {
      grad_x[i] = grad[i] * open;
    }
    grad_gate[g] = static_cast<float>(sum) * open * (1.0F - open);
  }
}

SFT_SIMD void backward_row_of_ones(const float* grad, const float* x, const float* gate,
                                   float* grad_x, float* grad_gate, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float open = fast_sigmoid(gate[i]);
    grad_x[i] = grad[i] * open;
    grad_gate[i] = grad[i] * x[i] * open * (1.0F - open);
  }
}

}  // namespace

void sigmoid_gate_forward(Device& device, const Tensor& x, const Tensor& gate, Tensor& y) {
  const int64_t n = x.shape[1];
  const int64_t gates = gate.shape[1];
  device.threads().parallel_for(x.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* const from = x.f32() + row * n;
      const float* const by = gate.f32() + row * gates;
      if (gates == n) {
        forward_row_of_ones(from, by, y.f32() + row * n, n);
      } else {
        forward_row(from, by, y.f32() + row * n, gates, n / gates);
      }
    }
  });
}

void sigmoid_gate_backward(Device& device, const Tensor& grad_y, const Tensor& x,
                           const Tensor& gate, Tensor& grad_x, Tensor& grad_gate) {
  const int64_t n = x.shape[1];
  const int64_t gates = gate.shape[1];
  device.threads().parallel_for(x.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t at = row * n;
      const int64_t gate_at = row * gates;
      if (gates == n) {
        backward_row_of_ones(grad_y.f32() + at, x.f32() + at, gate.f32() + gate_at,
                             grad_x.f32() + at, grad_gate.f32() + gate_at, n);
      } else {
        backward_row(grad_y.f32() + at, x.f32() + at, gate.f32() + gate_at, grad_x.f32() + at,
                     grad_gate.f32() + gate_at, gates, n / gates);
      }
    }
  });
}

}  // namespace sft::cpu
