#include <vector>

#include "ops/cpu/rows.h"
#include "ops/cpu/simd.h"
#include "ops/gated_norm.h"

namespace sft::cpu {

namespace {

// y *= silu(gate)
SFT_SIMD void gate_row(const float* gate, float* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    y[i] *= gate[i] * fast_sigmoid(gate[i]);
  }
}

// Of the norm's output, which is made again, and of the gate.
SFT_SIMD void gate_row_backward(const float* grad, const float* x, const float* gate,
                                const float* weight, float rstd, float* grad_normed,
                                float* grad_gate, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float s = fast_sigmoid(gate[i]);
    grad_normed[i] = grad[i] * gate[i] * s;
    grad_gate[i] = grad[i] * x[i] * rstd * weight[i] * s * (1.0F + gate[i] * (1.0F - s));
  }
}

}  // namespace

void gated_norm_forward(Device& device, const Tensor& x, const Tensor& gate, const Tensor& weight,
                        float eps, Tensor& y, Tensor& rstd) {
  const int64_t n = weight.shape[0];
  device.threads().parallel_for(rstd.shape.elements(), [&](int64_t begin, int64_t end) {
    for (int64_t head = begin; head < end; ++head) {
      const int64_t at = head * n;
      rstd.f32()[head] = norm_row(x.f32() + at, weight.f32(), y.f32() + at, n, eps, 0.0F);
      gate_row(gate.f32() + at, y.f32() + at, n);
    }
  });
}

void gated_norm_backward(Device& device, const Tensor& grad_y, const Tensor& x, const Tensor& gate,
                         const Tensor& weight, const Tensor& rstd, Tensor& grad_x,
                         Tensor& grad_gate, Tensor& grad_weight, bool accumulate_weight) {
  const int64_t n = weight.shape[0];
  const int64_t heads = rstd.shape.elements();
  const int parts = device.threads().size();
  const bool wants_weight = grad_weight.data != nullptr;
  // One partial sum per thread, added in thread order: the same bits every time.
  std::vector<double> partial(wants_weight ? static_cast<size_t>(parts * n) : 0, 0.0);
  device.threads().run([&](int thread) {
    std::vector<float> normed(static_cast<size_t>(n));
    double* const mine = wants_weight ? partial.data() + thread * n : nullptr;
    for (int64_t head = heads * thread / parts; head < heads * (thread + 1) / parts; ++head) {
      const int64_t at = head * n;
      gate_row_backward(grad_y.f32() + at, x.f32() + at, gate.f32() + at, weight.f32(),
                        rstd.f32()[head], normed.data(), grad_gate.f32() + at, n);
      norm_row_backward(normed.data(), x.f32() + at, weight.f32(), rstd.f32()[head], 0.0F, nullptr,
                        grad_x.f32() + at, mine, n);
    }
  });
  for (int64_t i = 0; wants_weight && i < n; ++i) {
    double total = accumulate_weight ? grad_weight.f32()[i] : 0.0;
    for (int part = 0; part < parts; ++part) {
      total += partial[static_cast<size_t>(part * n + i)];
    }
    grad_weight.f32()[i] = static_cast<float>(total);
  }
}

}  // namespace sft::cpu
