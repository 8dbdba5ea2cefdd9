#include "ops/layer_norm.h"

// A block takes a row at a time; its threads hold the row in registers.
#include <algorithm>

#include "device/cuda/scratch.h"
#include "ops/cuda/rows.cuh"

namespace sft::gpu {

namespace {

constexpr int kThreads = 256;
constexpr int kHeld = 6;  // vectors that a thread holds: rows of up to 12,288 values

// The sums over the block of two numbers of each thread.
__device__ inline float2 block_sums(float2 x) {
  __shared__ float2 shared[kThreads / 32];
  x.x = warp_sum(x.x);
  x.y = warp_sum(x.y);
  __syncthreads();  // what was summed before has been read
  if (threadIdx.x % 32 == 0) {
    shared[threadIdx.x / 32] = x;
  }
  __syncthreads();
  float2 sum{0.0F, 0.0F};
#pragma unroll
  for (int w = 0; w < kThreads / 32; ++w) {
    sum.x += shared[w].x;
    sum.y += shared[w].y;
  }
  return sum;
}

__device__ inline int64_t column(int k) {
  return (int64_t{k} * kThreads + static_cast<int>(threadIdx.x)) * kVec;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const T* x, const float* weight, const T* bias, int64_t n, float eps, T* y,
                   float* moments) {
  const bool aligned = n % kVec == 0;
  const int64_t at = int64_t{blockIdx.x} * n;
  Vec held[kHeld] = {};
  float2 sums{0.0F, 0.0F};
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
    if (column(k) < n) {
      held[k] = load_row(x + at, column(k), n, aligned);
#pragma unroll
      for (int j = 0; j < kVec; ++j) {
        sums.x += held[k].v[j];  // values beyond the row are 0
      }
    }
  }
  const float mean = block_sums(sums).x / static_cast<float>(n);
  float2 squares{0.0F, 0.0F};
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      if (column(k) + j < n) {
        const float d = held[k].v[j] - mean;
        squares.x += d * d;
      }
    }
  }
  const float scale = rsqrtf(block_sums(squares).x / static_cast<float>(n) + eps);
  if (threadIdx.x == 0) {
    moments[2 * int64_t{blockIdx.x}] = mean;
    moments[2 * int64_t{blockIdx.x} + 1] = scale;
  }
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
    const int64_t i = column(k);
    if (i < n) {
      const Vec w = load_row(weight, i, n, aligned);
      const Vec b = bias != nullptr ? load_row(bias, i, n, aligned) : Vec{};
#pragma unroll
      for (int j = 0; j < kVec; ++j) {
        held[k].v[j] = (held[k].v[j] - mean) * scale * w.v[j] + b.v[j];
      }
      store_row(y + at, i, n, aligned, held[k]);
    }
  }
}

// Blocks walk over the rows; each leaves its sums of the weight's and the bias's gradient in
// `partial` (2, gridDim.x, n).
template <class T>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(const T* grad_y, const T* x, const float* weight, const float* moments,
                    const T* grad_sum, int64_t rows, int64_t n, T* grad_x, float* partial) {
  const bool aligned = n % kVec == 0;
  Vec of_weight[kHeld] = {};
  Vec of_bias[kHeld] = {};
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const int64_t at = row * n;
    const float mean = moments[2 * row];
    const float scale = moments[2 * row + 1];
    Vec z[kHeld] = {};
    Vec weighted[kHeld] = {};
    float2 sums{0.0F, 0.0F};
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      const int64_t i = column(k);
      if (i < n) {
        z[k] = load_row(x + at, i, n, aligned);
        const Vec g = load_row(grad_y + at, i, n, aligned);
        const Vec w = load_row(weight, i, n, aligned);
#pragma unroll
        for (int j = 0; j < kVec; ++j) {
          z[k].v[j] = (z[k].v[j] - mean) * scale;
          weighted[k].v[j] = g.v[j] * w.v[j];  // 0 beyond the row
          of_weight[k].v[j] += g.v[j] * z[k].v[j];
          of_bias[k].v[j] += g.v[j];
          sums.x += weighted[k].v[j];
          sums.y += weighted[k].v[j] * z[k].v[j];
        }
      }
    }
    const float2 total = block_sums(sums);
    const float mean_sum = total.x / static_cast<float>(n);
    const float mean_dot = total.y / static_cast<float>(n);
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      const int64_t i = column(k);
      if (i < n) {
        Vec out = grad_sum != nullptr ? load_row(grad_sum + at, i, n, aligned) : Vec{};
#pragma unroll
        for (int j = 0; j < kVec; ++j) {
          out.v[j] += scale * (weighted[k].v[j] - mean_sum - z[k].v[j] * mean_dot);
        }
        store_row(grad_x + at, i, n, aligned, out);
      }
    }
  }
  if (partial != nullptr) {
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      const int64_t i = column(k);
      if (i < n) {
        store_row(partial + int64_t{blockIdx.x} * n, i, n, aligned, of_weight[k]);
        store_row(partial + (int64_t{gridDim.x} + blockIdx.x) * n, i, n, aligned, of_bias[k]);
      }
    }
  }
}

}  // namespace

void layer_norm_forward(Device& device, const Tensor& x, const Tensor& weight, const Tensor& bias,
                        float eps, Tensor& y, Tensor& moments) {
  const int64_t n = x.shape[1];
  SFT_ASSERT(n <= int64_t{kHeld} * kThreads * kVec);
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    forward_kernel<<<static_cast<unsigned>(x.shape[0]), kThreads, 0, cuda(device).stream()>>>(
        x.as<T>(), weight.f32(), bias.as<T>(), n, eps, y.as<T>(), moments.f32());
  });
  check_cuda(cudaGetLastError(), "layer_norm");
}

void layer_norm_backward(Device& device, const Tensor& grad_y, const Tensor& x,
                         const Tensor& weight, const Tensor& moments, const Tensor& grad_sum,
                         Tensor& grad_x, Tensor& grad_weight, bool accumulate_weight,
                         Tensor& grad_bias, bool accumulate_bias) {
  CudaDevice& gpu = cuda(device);
  const int64_t rows = x.shape[0];
  const int64_t n = x.shape[1];
  const int64_t most = static_cast<int64_t>(Scratch::kBytes / sizeof(float)) / (2 * n);
  const int64_t blocks = std::min({rows, gpu.multiprocessors() * int64_t{4}, most});
  const bool sums = grad_weight.data != nullptr || grad_bias.data != nullptr;
  float* const partial = sums ? gpu.state<Scratch>().take<float>(2 * blocks * n) : nullptr;
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    backward_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, gpu.stream()>>>(
        grad_y.as<T>(), x.as<T>(), weight.f32(), moments.f32(), grad_sum.as<T>(), rows, n,
        grad_x.as<T>(), partial);
  });
  if (grad_weight.data != nullptr) {
    column_sums(gpu, partial, blocks, n, grad_weight.f32(), accumulate_weight);
  }
  if (grad_bias.data != nullptr) {
    column_sums(gpu, partial + blocks * n, blocks, n, grad_bias.f32(), accumulate_bias);
  }
  check_cuda(cudaGetLastError(), "layer_norm.backward");
}

}  // namespace sft::gpu
