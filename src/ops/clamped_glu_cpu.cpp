#include "ops/clamped_glu.h"
#include "ops/cpu/simd.h"

namespace sft::cpu {

namespace {

// Comparisons that leave what is no number as it is.
SFT_SIMD void forward_row(const float* gate_up, float* y, int64_t n, float alpha, float limit) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float g = gate_up[2 * i] > limit ? limit : gate_up[2 * i];
    const float high = gate_up[2 * i + 1] > limit ? limit : gate_up[2 * i + 1];
    const float u = high < -limit ? -limit : high;
    y[i] = (u + 1.0F) * g * fast_sigmoid(alpha * g);
  }
}

// The ends of what is let through count, as in torch.clamp.
SFT_SIMD void backward_row(const float* grad_y, const float* gate_up, float* grad, int64_t n,
                           float alpha, float limit) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float gate = gate_up[2 * i];
    const float up = gate_up[2 * i + 1];
    const float g = gate > limit ? limit : gate;
    const float high = up > limit ? limit : up;
    const float u = high < -limit ? -limit : high;
    const float s = fast_sigmoid(alpha * g);
    const float slope = s * (1.0F + alpha * g * (1.0F - s));
    grad[2 * i] = gate > limit ? 0.0F : grad_y[i] * (u + 1.0F) * slope;
    grad[2 * i + 1] = up > limit || up < -limit ? 0.0F : grad_y[i] * g * s;
  }
}

}  // namespace

void clamped_glu_forward(Device& device, const Tensor& gate_up, const ClampedGlu& form, Tensor& y) {
  const int64_t n = y.shape[1];
  device.threads().parallel_for(y.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      forward_row(gate_up.f32() + t * 2 * n, y.f32() + t * n, n, form.alpha, form.limit);
    }
  });
}

void clamped_glu_backward(Device& device, const Tensor& grad_y, const Tensor& gate_up,
                          const ClampedGlu& form, Tensor& grad_gate_up) {
  const int64_t n = grad_y.shape[1];
  device.threads().parallel_for(grad_y.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      backward_row(grad_y.f32() + t * n, gate_up.f32() + t * 2 * n, grad_gate_up.f32() + t * 2 * n,
                   n, form.alpha, form.limit);
    }
  });
}

}  // namespace sft::cpu
