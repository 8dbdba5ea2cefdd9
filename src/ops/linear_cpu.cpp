#include <algorithm>
#include <vector>

#include "formats/format.h"
#include "ops/cpu/gemm.h"
#include "ops/cpu/rows.h"
#include "ops/linear.h"

namespace sft::cpu {

void linear_forward(Device& device, const Tensor& x, const Tensor& weight, const Tensor& bias,
                    float alpha, Tensor& y, bool accumulate) {
  const int64_t rows = x.shape[0];
  const int64_t in = x.shape[1];
  const int64_t out = weight.shape[0];
  if (bias.data != nullptr) {
    device.threads().parallel_for(rows, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        std::copy_n(bias.f32(), out, y.f32() + t * out);
      }
    });
  }
  gemm(device.threads(), {.transpose_b = true,
                          .m = rows,
                          .n = out,
                          .k = in,
                          .alpha = alpha,
                          .a = x.f32(),
                          .lda = in,
                          .b = weight.f32(),
                          .ldb = in,
                          .beta = accumulate || bias.data != nullptr ? 1.0F : 0.0F,
                          .c = y.f32(),
                          .ldc = out});
}

void linear_backward_input(Device& device, const Tensor& grad_y, const Tensor& weight, float alpha,
                           Tensor& grad_x, bool accumulate) {
  const int64_t in = weight.shape[1];
  const int64_t out = weight.shape[0];
  gemm(device.threads(), {.m = grad_y.shape[0],
                          .n = in,
                          .k = out,
                          .alpha = alpha,
                          .a = grad_y.f32(),
                          .lda = out,
                          .b = weight.f32(),
                          .ldb = in,
                          .beta = accumulate ? 1.0F : 0.0F,
                          .c = grad_x.f32(),
                          .ldc = in});
}

void linear_backward_weight(Device& device, const Tensor& grad_y, const Tensor& x, float alpha,
                            Tensor& grad_weight, bool accumulate) {
  const int64_t in = x.shape[1];
  const int64_t out = grad_y.shape[1];
  gemm(device.threads(), {.transpose_a = true,
                          .m = out,
                          .n = in,
                          .k = x.shape[0],
                          .alpha = alpha,
                          .a = grad_y.f32(),
                          .lda = out,
                          .b = x.f32(),
                          .ldb = in,
                          .beta = accumulate ? 1.0F : 0.0F,
                          .c = grad_weight.f32(),
                          .ldc = in});
}

void linear_backward_bias(Device& device, const Tensor& grad_y, Tensor& grad_bias,
                          bool accumulate) {
  const int64_t n = grad_y.shape[1];
  device.threads().parallel_for(
      n,
      [&](int64_t begin, int64_t end) {
        float* total = grad_bias.f32() + begin;
        std::vector<double> sum(static_cast<size_t>(end - begin), 0.0);
        if (accumulate) {
          std::copy(total, total + sum.size(), sum.begin());
        }
        for (int64_t t = 0; t < grad_y.shape[0]; ++t) {
          widen_add_row(grad_y.f32() + t * n + begin, sum.data(), end - begin);
        }
        std::transform(sum.begin(), sum.end(), total,
                       [](double x) { return static_cast<float>(x); });
      },
      16);
}

void widen(Device& device, const Tensor& x, Tensor& y) { decode(x, y.f32(), &device.threads()); }

}  // namespace sft::cpu
