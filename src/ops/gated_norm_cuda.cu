#include "ops/gated_norm.h"

// A warp takes a head at a time; its lanes hold the head in registers.
#include <algorithm>

#include "device/cuda/scratch.h"
#include "ops/cuda/rows.cuh"

namespace sft::gpu {

namespace {

constexpr int kWarps = 8;
constexpr int kHeld = 8;  // values that a lane holds: heads of up to 256 values

__device__ inline float sigmoid(float x) { return 1.0F / (1.0F + __expf(-x)); }

template <class T>
__global__ void __launch_bounds__(32 * kWarps)
    forward_kernel(const T* x, const T* gate, const float* weight, int64_t heads, int n, float eps,
                   T* y, float* rstd) {
  const int64_t head = int64_t{blockIdx.x} * kWarps + threadIdx.y;
  if (head >= heads) {
    return;
  }
  const int lane = static_cast<int>(threadIdx.x);
  float held[kHeld] = {};
  float squares = 0.0F;
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
    const int i = 32 * k + lane;
    held[k] = i < n ? widen(x[head * n + i]) : 0.0F;
    squares += held[k] * held[k];
  }
  const float scale = rsqrtf(warp_sum(squares) / static_cast<float>(n) + eps);
  if (lane == 0) {
    rstd[head] = scale;
  }
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
    const int i = 32 * k + lane;
    if (i < n) {
      const float g = widen(gate[head * n + i]);
      y[head * n + i] = narrow<T>(held[k] * scale * weight[i] * g * sigmoid(g));
    }
  }
}

// Warps walk over the heads; each block leaves its sums of the weight's gradient in `partial`
// (gridDim.x, n).
template <class T>
__global__ void __launch_bounds__(32 * kWarps)
    backward_kernel(const T* grad_y, const T* x, const T* gate, const float* weight,
                    const float* rstd, int64_t heads, int n, T* grad_x, T* grad_gate,
                    float* partial) {
  __shared__ float sums[kWarps][32 * kHeld];
  const int lane = static_cast<int>(threadIdx.x);
  LongSum of_weight[kHeld];
  for (int64_t head = int64_t{blockIdx.x} * kWarps + threadIdx.y; head < heads;
       head += int64_t{gridDim.x} * kWarps) {
    const float scale = rstd[head];
    float z[kHeld] = {};
    float weighted[kHeld] = {};
    float dot = 0.0F;
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      const int i = 32 * k + lane;
      if (i < n) {
        const int64_t at = head * n + i;
        const float b = widen(gate[at]);
        const float s = sigmoid(b);
        const float grad = widen(grad_y[at]);
        z[k] = widen(x[at]) * scale;
        grad_gate[at] = narrow<T>(grad * z[k] * weight[i] * s * (1.0F + b * (1.0F - s)));
        const float through = grad * b * s;
        of_weight[k].add(through * z[k]);
        weighted[k] = through * weight[i];
        dot += weighted[k] * z[k];
      }
    }
    const float mean = warp_sum(dot) / static_cast<float>(n);
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      const int i = 32 * k + lane;
      if (i < n) {
        grad_x[head * n + i] = narrow<T>(scale * (weighted[k] - z[k] * mean));
      }
    }
  }
  if (partial == nullptr) {
    return;
  }
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
    sums[threadIdx.y][32 * k + lane] = of_weight[k].total();
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.y) * 32 + lane; i < n; i += 32 * kWarps) {
    float total = 0.0F;
    for (int warp = 0; warp < kWarps; ++warp) {
      total += sums[warp][i];
    }
    partial[int64_t{blockIdx.x} * n + i] = total;
  }
}

}  // namespace

void gated_norm_forward(Device& device, const Tensor& x, const Tensor& gate, const Tensor& weight,
                        float eps, Tensor& y, Tensor& rstd) {
  const auto n = static_cast<int>(weight.shape[0]);
  const int64_t heads = rstd.shape.elements();
  SFT_ASSERT(n <= 32 * kHeld);
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    const auto blocks = static_cast<unsigned>((heads + kWarps - 1) / kWarps);
    forward_kernel<<<blocks, dim3(32, kWarps), 0, cuda(device).stream()>>>(
        x.as<T>(), gate.as<T>(), weight.f32(), heads, n, eps, y.as<T>(), rstd.f32());
  });
  check_cuda(cudaGetLastError(), "gated_norm");
}

void gated_norm_backward(Device& device, const Tensor& grad_y, const Tensor& x, const Tensor& gate,
                         const Tensor& weight, const Tensor& rstd, Tensor& grad_x,
                         Tensor& grad_gate, Tensor& grad_weight, bool accumulate_weight) {
  CudaDevice& gpu = cuda(device);
  const auto n = static_cast<int>(weight.shape[0]);
  const int64_t heads = rstd.shape.elements();
  const int64_t blocks =
      std::min((heads + kWarps - 1) / kWarps, gpu.multiprocessors() * int64_t{8});
  float* const partial =
      grad_weight.data != nullptr ? gpu.state<Scratch>().take<float>(blocks * n) : nullptr;
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    backward_kernel<<<static_cast<unsigned>(blocks), dim3(32, kWarps), 0, gpu.stream()>>>(
        grad_y.as<T>(), x.as<T>(), gate.as<T>(), weight.f32(), rstd.f32(), heads, n, grad_x.as<T>(),
        grad_gate.as<T>(), partial);
  });
  if (grad_weight.data != nullptr) {
    column_sums(gpu, partial, blocks, n, grad_weight.f32(), accumulate_weight);
  }
  check_cuda(cudaGetLastError(), "gated_norm.backward");
}

}  // namespace sft::gpu
