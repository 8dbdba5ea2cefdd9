#include "ops/soft_cap.h"

#include "ops/cuda/rows.cuh"

namespace sft::gpu {

namespace {

template <class T>
__global__ void soft_cap_kernel(const T* x, float cap, int64_t n, T* y) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < n) {
    y[i] = narrow<T>(cap * tanhf(sft::widen(x[i]) / cap));
  }
}

}  // namespace

void soft_cap(Device& device, const Tensor& x, float cap, Tensor& y) {
  const int64_t n = x.shape.elements();
  constexpr int kThreads = 256;
  const auto blocks = static_cast<unsigned>((n + kThreads - 1) / kThreads);
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    soft_cap_kernel<<<blocks, kThreads, 0, cuda(device).stream()>>>(x.as<T>(), cap, n, y.as<T>());
  });
  check_cuda(cudaGetLastError(), "soft_cap");
}

}  // namespace sft::gpu
