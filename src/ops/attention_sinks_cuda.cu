#include "ops/attention_sinks.h"

#include <algorithm>

#include "device/cuda/scratch.h"
#include "ops/cuda/rows.cuh"

namespace sft::gpu {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = 8;

// A block has a token.
template <class T>
__global__ void __launch_bounds__(kThreads)
    add_kernel(const float* sinks, const int32_t* end, int heads, int d, T* y, float* log_sum) {
  extern __shared__ float factors[];
  const int64_t t = blockIdx.x;
  if (t >= *end) {
    return;
  }
  for (int h = static_cast<int>(threadIdx.x); h < heads; h += kThreads) {
    float& sum = log_sum[t * heads + h];
    const float more = sinks[h] - sum;
    factors[h] = 1.0F / (1.0F + expf(more));
    sum += more > 0.0F ? more + log1pf(expf(-more)) : log1pf(expf(more));
  }
  __syncthreads();
  const int n = heads * d;
  const bool aligned = n % kVec == 0;
  T* const row = y + t * n;
  for (int i = static_cast<int>(threadIdx.x) * kVec; i < n; i += kThreads * kVec) {
    Vec values = load_row(row, i, n, aligned);
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      values.v[j] *= factors[min(i + j, n - 1) / d];
    }
    store_row(row, i, n, aligned, values);
  }
}

// A warp has a head, a block some tokens: partial (gridDim.x, heads).
template <class T>
__global__ void backward_kernel(const T* grad_y, const T* y, const float* log_sum,
                                const float* sinks, const int32_t* end, int64_t chunk, int heads,
                                int d, float* partial) {
  const int h = static_cast<int>(blockIdx.y) * kWarps + static_cast<int>(threadIdx.y);
  if (h >= heads) {
    return;
  }
  const int64_t first = int64_t{blockIdx.x} * chunk;
  const int64_t last = min(first + chunk, int64_t{*end});
  LongSum sum;
  for (int64_t t = first; t < last; ++t) {
    const int64_t at = (t * heads + h) * d;
    float dot = 0.0F;
    for (int i = static_cast<int>(threadIdx.x); i < d; i += 32) {
      dot += sft::widen(grad_y[at + i]) * sft::widen(y[at + i]);
    }
    sum.add(-expf(sinks[h] - log_sum[t * heads + h]) * warp_sum(dot));
  }
  if (threadIdx.x == 0) {
    partial[int64_t{blockIdx.x} * heads + h] = sum.total();
  }
}

const int32_t* end_of(const Tensor& table) { return table.i32() + table.shape[1] - 1; }

}  // namespace

void add_sinks(Device& device, const Tensor& sinks, const Tensor& table, Tensor& y,
               Tensor& log_sum) {
  const auto heads = static_cast<int>(sinks.shape[0]);
  with_type(y.dtype, [&](auto type) {
    using T = decltype(type);
    add_kernel<<<static_cast<unsigned>(y.shape[0]), kThreads,
                 static_cast<size_t>(heads) * sizeof(float), cuda(device).stream()>>>(
        sinks.f32(), end_of(table), heads, static_cast<int>(y.shape[1]) / heads, y.as<T>(),
        log_sum.f32());
  });
  check_cuda(cudaGetLastError(), "attention.sinks");
}

void sinks_backward(Device& device, const Tensor& grad_y, const Tensor& y, const Tensor& log_sum,
                    const Tensor& sinks, const Tensor& table, Tensor& grad_sinks, bool accumulate) {
  CudaDevice& gpu = cuda(device);
  const auto heads = static_cast<int>(sinks.shape[0]);
  const int64_t tokens = y.shape[0];
  const int64_t chunks = std::clamp<int64_t>(tokens / 32, 1, 256);
  auto* const partial = gpu.state<Scratch>().take<float>(chunks * heads);
  with_type(y.dtype, [&](auto type) {
    using T = decltype(type);
    const dim3 grid(static_cast<unsigned>(chunks),
                    static_cast<unsigned>((heads + kWarps - 1) / kWarps));
    backward_kernel<<<grid, dim3(32, kWarps), 0, gpu.stream()>>>(
        grad_y.as<T>(), y.as<T>(), log_sum.f32(), sinks.f32(), end_of(table),
        (tokens + chunks - 1) / chunks, heads, static_cast<int>(y.shape[1]) / heads, partial);
  });
  column_sums(gpu, partial, chunks, heads, grad_sinks.f32(), accumulate);
  check_cuda(cudaGetLastError(), "attention.sinks.backward");
}

}  // namespace sft::gpu
