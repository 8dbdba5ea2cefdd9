#include "ops/cuda/rows.cuh"
#include "ops/embedding_lora.h"

namespace sft::gpu {

namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void gather_columns_kernel(const int32_t* tokens, const T* table, int64_t count,
                                      int64_t rank, int64_t vocab, T* y) {
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at < count * rank) {
    y[at] = table[at % rank * vocab + tokens[at / rank]];
  }
}

__global__ void transpose_kernel(const float* x, int64_t m, int64_t n, float* y, bool accumulate) {
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at < m * n) {
    const float value = x[at % m * n + at / m];
    y[at] = accumulate ? y[at] + value : value;
  }
}

}  // namespace

void gather_columns(Device& device, const Tensor& tokens, const Tensor& table, Tensor& y) {
  const int64_t count = tokens.shape[0], rank = table.shape[0];
  const auto blocks = static_cast<unsigned>((count * rank + kThreads - 1) / kThreads);
  with_type(table.dtype, [&](auto type) {
    using T = decltype(type);
    gather_columns_kernel<<<blocks, kThreads, 0, cuda(device).stream()>>>(
        tokens.i32(), table.as<T>(), count, rank, table.shape[1], y.as<T>());
  });
  check_cuda(cudaGetLastError(), "gather_columns");
}

void transpose(Device& device, const Tensor& x, Tensor& y, bool accumulate) {
  const int64_t m = x.shape[0], n = x.shape[1];
  const auto blocks = static_cast<unsigned>((m * n + kThreads - 1) / kThreads);
  transpose_kernel<<<blocks, kThreads, 0, cuda(device).stream()>>>(x.f32(), m, n, y.f32(),
                                                                   accumulate);
  check_cuda(cudaGetLastError(), "transpose");
}

}  // namespace sft::gpu
