#include "ops/cuda/cuda_kernels.h"
#include "ops/cuda/rows.cuh"

namespace sft::gpu {

namespace {

template <class T>
__global__ void row_kernel(const T* x, const int32_t* row, int64_t n, T* y) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < n) {
    y[i] = x[int64_t{row[0]} * n + i];
  }
}

}  // namespace

void select_row(Device& device, const Tensor& x, const Tensor& row, const Tensor& y) {
  const int64_t n = x.shape[1];
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    row_kernel<<<static_cast<unsigned>((n + 255) / 256), 256, 0, cuda(device).stream()>>>(
        x.as<T>(), row.i32(), n, y.as<T>());
  });
  check_cuda(cudaGetLastError(), "select_row");
}

}  // namespace sft::gpu
