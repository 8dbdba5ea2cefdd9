#include <algorithm>

#include "device/cuda/scratch.h"
#include "ops/cuda/rows.cuh"
#include "ops/expert_scales.h"

namespace sft::gpu {

namespace {

constexpr int kThreads = 256;

// y = x times the scales of its experts.
__global__ void scale_kernel(const float* x, const int32_t* experts, const float* scales, int64_t n,
                             float* y) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < n) {
    y[i] = x[i] * scales[experts[i]];
  }
}

// partial (chunks, n): the sum of grad * weight for each expert in a chunk of tokens, which one
// warp goes through in order.
__global__ void scales_grad_kernel(const float* grad, const float* weights, const int32_t* experts,
                                   int n, int chosen, int64_t tokens, int64_t chunk,
                                   float* partial) {
  const int lane = static_cast<int>(threadIdx.x);
  float* const sums = partial + int64_t{blockIdx.x} * n;
  for (int e = lane; e < n; e += 32) {
    sums[e] = 0.0F;
  }
  __syncwarp();
  const int64_t first = int64_t{blockIdx.x} * chunk;
  const int64_t end = min(first + chunk, tokens);
  for (int64_t token = first; token < end; ++token) {
    for (int i = lane; i < chosen; i += 32) {  // a token's experts are different ones
      const int64_t at = token * chosen + i;
      sums[experts[at]] += grad[at] * weights[at];
    }
    __syncwarp();
  }
}

void scale(CudaDevice& gpu, const Tensor& x, const Tensor& experts, const Tensor& scales,
           Tensor& y) {
  const int64_t n = x.shape.elements();
  scale_kernel<<<static_cast<unsigned>((n + kThreads - 1) / kThreads), kThreads, 0, gpu.stream()>>>(
      x.f32(), experts.i32(), scales.f32(), n, y.f32());
  check_cuda(cudaGetLastError(), "router.scales");
}

}  // namespace

void expert_scales_forward(Device& device, const Tensor& weights, const Tensor& experts,
                           const Tensor& scales, Tensor& y) {
  scale(cuda(device), weights, experts, scales, y);
}

void expert_scales_backward(Device& device, const Tensor& grad, const Tensor& weights,
                            const Tensor& experts, const Tensor& scales, Tensor& grad_weights,
                            Tensor& grad_scales, bool accumulate) {
  CudaDevice& gpu = cuda(device);
  if (grad_scales.data != nullptr) {
    const int64_t tokens = weights.shape[0];
    const auto n = static_cast<int>(scales.shape.elements());
    // As many chunks as there is room for, and enough of them to fill the card.
    const int64_t room = static_cast<int64_t>(Scratch::kBytes / sizeof(float)) / n;
    const int64_t chunks = std::clamp<int64_t>(tokens / 8, 1, std::min<int64_t>(room, 2048));
    auto* const partial = gpu.state<Scratch>().take<float>(chunks * n);
    scales_grad_kernel<<<static_cast<unsigned>(chunks), 32, 0, gpu.stream()>>>(
        grad.f32(), weights.f32(), experts.i32(), n, static_cast<int>(weights.shape[1]), tokens,
        (tokens + chunks - 1) / chunks, partial);
    check_cuda(cudaGetLastError(), "router.scales.backward");
    column_sums(gpu, partial, chunks, n, grad_scales.f32(), accumulate);
  }
  if (grad_weights.data != nullptr) {
    scale(gpu, grad, experts, scales, grad_weights);
  }
}

}  // namespace sft::gpu
