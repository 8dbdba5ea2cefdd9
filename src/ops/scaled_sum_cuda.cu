#include "ops/cuda/rows.cuh"
#include "ops/scaled_sum.h"

namespace sft::gpu {

namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void scaled_sum_kernel(const T* residual, const T* delta, const float* factor, int64_t n,
                                  T* y) {
  const int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kVec;
  if (i >= n) {
    return;
  }
  const bool whole = i + kVec <= n;
  const float by = *factor;
  Vec sum = whole ? load_vec(delta + i) : load_some(delta + i, n - i);
  if (residual != nullptr) {
    const Vec base = whole ? load_vec(residual + i) : load_some(residual + i, n - i);
#pragma unroll
    for (int k = 0; k < kVec; ++k) {
      sum.v[k] += base.v[k];
    }
  }
#pragma unroll
  for (int k = 0; k < kVec; ++k) {
    sum.v[k] *= by;
  }
  if (whole) {
    store_vec(y + i, sum);
  } else {
    store_some(y + i, sum, n - i);
  }
}

}  // namespace

void scaled_sum(Device& device, const Tensor& residual, const Tensor& delta, const Tensor& factor,
                Tensor& y) {
  const int64_t n = y.shape.elements();
  const auto blocks = static_cast<unsigned>((n + kThreads * kVec - 1) / (kThreads * kVec));
  with_type(y.dtype, [&](auto type) {
    using T = decltype(type);
    scaled_sum_kernel<<<blocks, kThreads, 0, cuda(device).stream()>>>(
        residual.as<T>(), delta.as<T>(), factor.f32(), n, y.as<T>());
  });
  check_cuda(cudaGetLastError(), "scaled_sum");
}

}  // namespace sft::gpu
