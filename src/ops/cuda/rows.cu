#include "ops/cuda/rows.cuh"

namespace sft {

namespace {

constexpr int kColumns = 32;
constexpr int kParts = 16;

__global__ void column_sums_kernel(const float* partial, int64_t parts, int64_t n, float* out,
                                   bool accumulate) {
  __shared__ double sums[kParts][kColumns];
  const int64_t column = int64_t{blockIdx.x} * kColumns + threadIdx.x;
  double sum = 0.0;  // there may be many parts
  if (column < n) {
    for (int64_t p = threadIdx.y; p < parts; p += kParts) {
      sum += static_cast<double>(partial[p * n + column]);
    }
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y == 0 && column < n) {
    double total = accumulate ? static_cast<double>(out[column]) : 0.0;
    for (int lane = 0; lane < kParts; ++lane) {
      total += sums[lane][threadIdx.x];
    }
    out[column] = static_cast<float>(total);
  }
}

}  // namespace

void column_sums(CudaDevice& device, const float* partial, int64_t parts, int64_t n, float* out,
                 bool accumulate) {
  const auto blocks = static_cast<unsigned>((n + kColumns - 1) / kColumns);
  column_sums_kernel<<<blocks, dim3(kColumns, kParts), 0, device.stream()>>>(partial, parts, n, out,
                                                                             accumulate);
  check_cuda(cudaGetLastError(), "column_sums");
}

}  // namespace sft
