#include "ops/add_noise.h"

#include "ops/cuda/rows.cuh"

namespace sft::gpu {

namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void add_noise_kernel(const T* x, const float* noise, int64_t n, T* y) {
  const int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kVec;
  if (i >= n) {
    return;
  }
  Vec sum = i + kVec <= n ? load_vec(x + i) : load_some(x + i, n - i);
  const Vec more = i + kVec <= n ? load_vec(noise + i) : load_some(noise + i, n - i);
#pragma unroll
  for (int k = 0; k < kVec; ++k) {
    sum.v[k] += more.v[k];
  }
  if (i + kVec <= n) {
    store_vec(y + i, sum);
  } else {
    store_some(y + i, sum, n - i);
  }
}

}  // namespace

void add_noise(Device& device, const Tensor& x, const Tensor& noise, Tensor& y) {
  const int64_t n = x.shape.elements();
  const auto blocks = static_cast<unsigned>((n + kThreads * kVec - 1) / (kThreads * kVec));
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    add_noise_kernel<<<blocks, kThreads, 0, cuda(device).stream()>>>(x.as<T>(), noise.f32(), n,
                                                                     y.as<T>());
  });
  check_cuda(cudaGetLastError(), "add_noise");
}

}  // namespace sft::gpu
