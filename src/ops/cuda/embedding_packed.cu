#include "ops/cuda/embedding_packed.h"

#include "ops/cuda/packed_formats.cuh"
#include "ops/cuda/rows.cuh"

namespace sft {

namespace {

constexpr int kThreads = 128;

template <class Format>
__global__ void rows_kernel(const Format format, const int32_t* tokens, float scale, int64_t n,
                            DType type, void* y) {
  __shared__ float table[std::max(Format::kTable, 1)];
  if constexpr (Format::kTable > 0) {
    for (int i = static_cast<int>(threadIdx.x); i < Format::kTable; i += kThreads) {
      table[i] = format.entry(i);
    }
    __syncthreads();
  }
  const int64_t from = int64_t{tokens[blockIdx.x]} * n;
  const int64_t to = int64_t{blockIdx.x} * n;
  for (int64_t i = int64_t{threadIdx.x} * kVec; i < n; i += int64_t{kThreads} * kVec) {
    Vec v = format.eight(from + i, table);
#pragma unroll
    for (int k = 0; k < kVec; ++k) {
      v.v[k] *= scale;
    }
    if (type == DType::bf16) {
      store_row(static_cast<__nv_bfloat16*>(y) + to, i, n, true, v);
    } else if (type == DType::f16) {
      store_row(static_cast<__half*>(y) + to, i, n, true, v);
    } else {
      store_row(static_cast<float*>(y) + to, i, n, true, v);
    }
  }
}

}  // namespace

void embedding_packed(CudaDevice& gpu, const Tensor& tokens, const Tensor& table, float scale,
                      Tensor& y) {
  SFT_ASSERT(y.shape[1] % kVec == 0);
  const auto launch = [&](const auto& format) {
    rows_kernel<<<static_cast<unsigned>(tokens.shape[0]), kThreads, 0, gpu.stream()>>>(
        format, tokens.i32(), scale, y.shape[1], y.dtype, y.data);
  };
  const bool packed =
      packed::with_blocks(gpu, table, launch) || packed::with_codes<false>(gpu, table, launch);
  SFT_ASSERT(packed);
  check_cuda(cudaGetLastError(), "embedding");
}

}  // namespace sft
