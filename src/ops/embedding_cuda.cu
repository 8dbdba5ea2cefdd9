#include "ops/embedding.h"

#include <cub/device/device_radix_sort.cuh>

#include "device/cuda/scratch.h"
#include "ops/cuda/embedding_packed.h"
#include "ops/cuda/rows.cuh"

namespace sft::gpu {

namespace {

template <class T>
__global__ void forward_kernel(const int32_t* tokens, const T* weight, float scale, int64_t n,
                               T* y) {
  const int64_t t = blockIdx.x;
  const int64_t from = int64_t{tokens[t]} * n;
  const bool aligned = n % kVec == 0;
  for (int64_t i = int64_t{threadIdx.x} * kVec; i < n; i += int64_t{blockDim.x} * kVec) {
    Vec x = load_row(weight + from, i, n, aligned);
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      x.v[j] *= scale;
    }
    store_row(y + t * n, i, n, aligned, x);
  }
}

__global__ void number_kernel(int32_t* x, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) {
    x[i] = i;
  }
}

// tokens (n), sorted, and the positions they came from: the block at the first of a run of equal
// tokens adds the rows of all of them, in order.
template <class T>
__global__ void backward_kernel(const T* grad_y, const int32_t* tokens, const int32_t* positions,
                                int64_t tokens_total, float scale, int64_t padding, int64_t n,
                                float* grad_weight) {
  const int64_t first = blockIdx.x;
  const int32_t token = tokens[first];
  if (token == padding || (first > 0 && tokens[first - 1] == token)) {
    return;
  }
  const bool aligned = n % kVec == 0;
  for (int64_t i = int64_t{threadIdx.x} * kVec; i < n; i += int64_t{blockDim.x} * kVec) {
    float* row = grad_weight + int64_t{token} * n;
    LongSums sum;
    for (int64_t k = first; k < tokens_total && tokens[k] == token; ++k) {
      const Vec g = load_row(grad_y + int64_t{positions[k]} * n, i, n, aligned);
#pragma unroll
      for (int j = 0; j < kVec; ++j) {
        sum.v[j].add(g.v[j] * scale);
      }
    }
    Vec total = load_row(row, i, n, aligned);
    const Vec added = sum.total();
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      total.v[j] += added.v[j];
    }
    store_row(row, i, n, aligned, total);
  }
}

int threads_for(int64_t n) {
  return static_cast<int>(std::min<int64_t>(256, ((n + kVec - 1) / kVec + 31) / 32 * 32));
}

}  // namespace

void embedding_forward(Device& device, const Tensor& tokens, const Tensor& weight, float scale,
                       Tensor& y) {
  if (is_packed(weight.dtype)) {
    return embedding_packed(cuda(device), tokens, weight, scale, y);
  }
  const int64_t n = weight.shape[1];
  with_type(weight.dtype, [&](auto type) {
    using T = decltype(type);
    forward_kernel<<<static_cast<unsigned>(tokens.shape[0]), threads_for(n), 0,
                     cuda(device).stream()>>>(tokens.i32(), weight.as<T>(), scale, n, y.as<T>());
  });
  check_cuda(cudaGetLastError(), "embedding");
}

void embedding_backward(Device& device, const Tensor& grad_y, const Tensor& tokens, float scale,
                        int64_t padding, Tensor& grad_weight, bool accumulate) {
  CudaDevice& gpu = cuda(device);
  const cudaStream_t stream = gpu.stream();
  const int64_t n = grad_weight.shape[1];
  const auto count = static_cast<int>(tokens.shape[0]);
  if (!accumulate) {
    gpu.zero(grad_weight.data, grad_weight.bytes());
  }
  // Scratch: positions, the sorted tokens and positions, then the sort's own.
  const int64_t part = (int64_t{count} + 63) / 64 * 64;
  auto* const positions = gpu.state<Scratch>().take<int32_t>(3 * part);
  int32_t* const sorted_tokens = positions + part;
  int32_t* const sorted_positions = positions + 2 * part;
  void* const temporary = positions + 3 * part;
  size_t bytes = Scratch::kBytes - static_cast<size_t>(3 * part) * sizeof(int32_t);
  number_kernel<<<static_cast<unsigned>((count + 255) / 256), 256, 0, stream>>>(positions, count);
  check_cuda(cub::DeviceRadixSort::SortPairs(temporary, bytes, tokens.i32(), sorted_tokens,
                                             positions, sorted_positions, count, 0, 32, stream),
             "embedding.backward");
  with_type(grad_y.dtype, [&](auto type) {
    using T = decltype(type);
    backward_kernel<<<static_cast<unsigned>(count), threads_for(n), 0, stream>>>(
        grad_y.as<T>(), sorted_tokens, sorted_positions, count, scale, padding, n,
        grad_weight.f32());
  });
  check_cuda(cudaGetLastError(), "embedding.backward");
}

}  // namespace sft::gpu
