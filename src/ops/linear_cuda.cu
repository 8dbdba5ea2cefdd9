#include "ops/linear.h"

#include <algorithm>

#include "device/cuda/scratch.h"
#include "ops/cuda/gemm.h"
#include "ops/cuda/rows.cuh"

namespace sft::gpu {

void linear_forward(Device& device, const Tensor& x, const Tensor& weight, const Tensor& bias,
                    float alpha, Tensor& y, bool accumulate) {
  const int64_t in = x.shape[1];
  const int64_t out = weight.shape[0];
  gemm(cuda(device), {.transpose_b = true,
                      .m = x.shape[0],
                      .n = out,
                      .k = in,
                      .alpha = alpha,
                      .beta = accumulate ? 1.0F : 0.0F,
                      .a = x.data,
                      .b = weight.data,
                      .c = y.data,
                      .lda = in,
                      .ldb = in,
                      .ldc = out,
                      .type = x.dtype,
                      .out_type = y.dtype,
                      .bias = bias.data});
}

void linear_backward_input(Device& device, const Tensor& grad_y, const Tensor& weight, float alpha,
                           Tensor& grad_x, bool accumulate) {
  const int64_t in = weight.shape[1];
  const int64_t out = weight.shape[0];
  gemm(cuda(device), {.m = grad_y.shape[0],
                      .n = in,
                      .k = out,
                      .alpha = alpha,
                      .beta = accumulate ? 1.0F : 0.0F,
                      .a = grad_y.data,
                      .b = weight.data,
                      .c = grad_x.data,
                      .lda = out,
                      .ldb = in,
                      .ldc = in,
                      .type = grad_y.dtype,
                      .out_type = grad_x.dtype});
}

void linear_backward_weight(Device& device, const Tensor& grad_y, const Tensor& x, float alpha,
                            Tensor& grad_weight, bool accumulate) {
  const int64_t in = x.shape[1];
  const int64_t out = grad_y.shape[1];
  gemm(cuda(device), {.transpose_a = true,
                      .m = out,
                      .n = in,
                      .k = x.shape[0],
                      .alpha = alpha,
                      .beta = accumulate ? 1.0F : 0.0F,
                      .a = grad_y.data,
                      .b = x.data,
                      .c = grad_weight.data,
                      .lda = out,
                      .ldb = in,
                      .ldc = in,
                      .type = grad_y.dtype,
                      .out_type = grad_weight.dtype});
}

namespace {

constexpr int kLanes = 32;  // columns of vectors
constexpr int kRows = 8;

// partial (chunks, n): the column sums of each chunk of rows.
template <class T>
__global__ void partial_kernel(const T* x, int64_t rows, int64_t n, float* partial) {
  __shared__ Vec sums[kRows][kLanes];
  const int64_t i = (int64_t{blockIdx.x} * kLanes + threadIdx.x) * kVec;
  const bool aligned = n % kVec == 0;
  LongSums seen;
  if (i < n) {
    const int64_t stride = int64_t{gridDim.y} * kRows;
    for (int64_t r = int64_t{blockIdx.y} * kRows + threadIdx.y; r < rows; r += stride) {
      const Vec v = load_row(x + r * n, i, n, aligned);
#pragma unroll
      for (int j = 0; j < kVec; ++j) {
        seen.v[j].add(v.v[j]);
      }
    }
  }
  Vec sum = seen.total();
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y == 0 && i < n) {
    for (int r = 1; r < kRows; ++r) {
#pragma unroll
      for (int j = 0; j < kVec; ++j) {
        sum.v[j] += sums[r][threadIdx.x].v[j];
      }
    }
    store_row(partial + int64_t{blockIdx.y} * n, i, n, aligned, sum);
  }
}

}  // namespace

void linear_backward_bias(Device& device, const Tensor& grad_y, Tensor& grad_bias,
                          bool accumulate) {
  CudaDevice& gpu = cuda(device);
  const int64_t rows = grad_y.shape[0];
  const int64_t n = grad_y.shape[1];
  const int64_t chunks = std::clamp<int64_t>(rows / (4 * kRows), 1, 128);
  float* const partial = gpu.state<Scratch>().take<float>(chunks * n);
  const dim3 grid(static_cast<unsigned>((n + kLanes * kVec - 1) / (kLanes * kVec)),
                  static_cast<unsigned>(chunks));
  with_type(grad_y.dtype, [&](auto type) {
    using T = decltype(type);
    partial_kernel<<<grid, dim3(kLanes, kRows), 0, gpu.stream()>>>(grad_y.as<T>(), rows, n,
                                                                   partial);
  });
  check_cuda(cudaGetLastError(), "linear.backward.bias");
  column_sums(gpu, partial, chunks, n, grad_bias.f32(), accumulate);
}

}  // namespace sft::gpu
