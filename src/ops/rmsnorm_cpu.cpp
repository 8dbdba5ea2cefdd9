#include <cmath>
#include <vector>

#include "ops/cpu/rows.h"
#include "ops/cpu/simd.h"
#include "ops/rmsnorm.h"

namespace sft::cpu {

namespace {

SFT_SIMD void sum_row(const float* x, const float* delta, float* sum, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    sum[i] = x[i] + delta[i];
  }
}

}  // namespace

void rmsnorm_forward(Device& device, const Tensor& x, const Tensor& delta, const Tensor& weight,
                     const RmsNorm& options, Tensor& y, Tensor& rstd, Tensor& sum) {
  const int64_t n = weight.shape[0];
  device.threads().parallel_for(x.shape.elements() / n, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* from = x.f32() + row * n;
      if (delta.data != nullptr) {
        sum_row(from, delta.f32() + row * n, sum.f32() + row * n, n);
        from = sum.f32() + row * n;
      }
      rstd.f32()[row] =
          norm_row(from, weight.f32(), y.f32() + row * n, n, options.eps, options.weight_offset);
    }
  });
}

void rmsnorm_backward(Device& device, const Tensor& grad_y, const Tensor& x, const Tensor& weight,
                      const Tensor& rstd, const Tensor& grad_sum, const RmsNorm& options,
                      Tensor& grad_x, Tensor& grad_weight, bool accumulate_weight) {
  const int64_t n = weight.shape[0];
  const int64_t rows = x.shape.elements() / n;
  const int parts = device.threads().size();
  const bool wants_weight = grad_weight.data != nullptr;
  // One partial sum per thread, added in thread order: the same bits every time.
  std::vector<double> partial(wants_weight ? static_cast<size_t>(parts * n) : 0, 0.0);
  device.threads().run([&](int thread) {
    double* mine = wants_weight ? partial.data() + thread * n : nullptr;
    for (int64_t row = rows * thread / parts; row < rows * (thread + 1) / parts; ++row) {
      const int64_t at = row * n;
      norm_row_backward(
          grad_y.f32() + at, x.f32() + at, weight.f32(), rstd.f32()[row], options.weight_offset,
          grad_sum.data == nullptr ? nullptr : grad_sum.f32() + at, grad_x.f32() + at, mine, n);
    }
  });
  if (wants_weight) {
    for (int64_t i = 0; i < n; ++i) {
      double total = accumulate_weight ? grad_weight.f32()[i] : 0.0;
      for (int part = 0; part < parts; ++part) {
        total += partial[static_cast<size_t>(part * n + i)];
      }
      grad_weight.f32()[i] = static_cast<float>(total);
    }
  }
}

}  // namespace sft::cpu
