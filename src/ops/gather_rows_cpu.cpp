#include <algorithm>

#include "ops/cpu/simd.h"
#include "ops/gather_rows.h"

namespace sft::cpu {

namespace {

constexpr int64_t kGrain = 16;  // rows that are worth a thread

SFT_SIMD void add_row(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) {
    y[i] += x[i];
  }
}

}  // namespace

void gather_rows_forward(Device& device, const Tensor& x, const Tensor& rows, Tensor& y) {
  const int64_t width = x.shape[1];
  device.threads().parallel_for(
      rows.shape[0],
      [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          float* const to = y.f32() + i * width;
          if (const int64_t row = rows.i32()[i]; row >= 0) {
            std::copy_n(x.f32() + row * width, width, to);
          } else {
            std::fill_n(to, width, 0.0F);
          }
        }
      },
      kGrain);
}

void gather_rows_backward(Device& device, const Tensor& grad_y, const Tensor& rows, Tensor& grad_x,
                          bool accumulate) {
  const int64_t width = grad_x.shape[1];
  if (!accumulate) {
    device.threads().parallel_for(
        grad_x.shape[0],
        [&](int64_t begin, int64_t end) {
          std::fill(grad_x.f32() + begin * width, grad_x.f32() + end * width, 0.0F);
        },
        kGrain);
  }
  device.threads().parallel_for(
      rows.shape[0],
      [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          if (const int64_t row = rows.i32()[i]; row >= 0) {
            add_row(grad_y.f32() + i * width, width, grad_x.f32() + row * width);
          }
        }
      },
      kGrain);
}

}  // namespace sft::cpu
