#include "ops/add_scaled.h"
#include "ops/cuda/rows.cuh"

namespace sft::gpu {

namespace {

constexpr int kThreads = 256;

// The product is rounded by itself, as two operations of torch's round it.
template <class T>
__global__ void add_scaled_kernel(const T* residual, const T* delta, float factor, int64_t n,
                                  T* y) {
  const int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kVec;
  if (i >= n) {
    return;
  }
  const bool whole = i + kVec <= n;
  Vec sum = whole ? load_vec(delta + i) : load_some(delta + i, n - i);
#pragma unroll
  for (int k = 0; k < kVec; ++k) {
    sum.v[k] = sft::widen(narrow<T>(__fmul_rn(sum.v[k], factor)));
  }
  if (residual != nullptr) {
    const Vec base = whole ? load_vec(residual + i) : load_some(residual + i, n - i);
#pragma unroll
    for (int k = 0; k < kVec; ++k) {
      sum.v[k] += base.v[k];
    }
  }
  if (whole) {
    store_vec(y + i, sum);
  } else {
    store_some(y + i, sum, n - i);
  }
}

}  // namespace

void add_scaled(Device& device, const Tensor& residual, const Tensor& delta, float factor,
                Tensor& y) {
  const int64_t n = y.shape.elements();
  const auto blocks = static_cast<unsigned>((n + kThreads * kVec - 1) / (kThreads * kVec));
  with_type(y.dtype, [&](auto type) {
    using T = decltype(type);
    add_scaled_kernel<<<blocks, kThreads, 0, cuda(device).stream()>>>(
        residual.as<T>(), delta.as<T>(), factor, n, y.as<T>());
  });
  check_cuda(cudaGetLastError(), "add_scaled");
}

}  // namespace sft::gpu
