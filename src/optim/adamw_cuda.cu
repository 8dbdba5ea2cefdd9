#include <algorithm>
#include <cmath>
#include <vector>

#include "device/cuda/cuda_device.h"
#include "device/cuda/vec.cuh"
#include "ops/cuda/scratch.h"
#include "optim/cuda_kernels.h"

namespace sft::gpu {

namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void adamw_kernel(float* w, const float* g, float* m, float* v, T* copy, int64_t n,
                             AdamWUpdate u) {
  const int64_t i = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * 4;
  if (i >= n) {  // slices are multiples of 16 values
    return;
  }
  const float4 gradients = *reinterpret_cast<const float4*>(g + i);
  float4 weights = *reinterpret_cast<const float4*>(w + i);
  float4 first = *reinterpret_cast<const float4*>(m + i);
  float4 second = *reinterpret_cast<const float4*>(v + i);
  const auto one = [&](float gradient, float& weight, float& a, float& b) {
    gradient *= u.clip;
    a = a + (gradient - a) * u.one_minus_beta1;
    b = b * u.beta2 + gradient * gradient * u.one_minus_beta2;
    weight = weight * u.decay - u.step_size * a / (sqrtf(b) * u.correction + u.epsilon);
  };
  one(gradients.x, weights.x, first.x, second.x);
  one(gradients.y, weights.y, first.y, second.y);
  one(gradients.z, weights.z, first.z, second.z);
  one(gradients.w, weights.w, first.w, second.w);
  *reinterpret_cast<float4*>(w + i) = weights;
  *reinterpret_cast<float4*>(m + i) = first;
  *reinterpret_cast<float4*>(v + i) = second;
  if (copy != nullptr) {
    copy[i] = narrow<T>(weights.x);
    copy[i + 1] = narrow<T>(weights.y);
    copy[i + 2] = narrow<T>(weights.z);
    copy[i + 3] = narrow<T>(weights.w);
  }
}

// One float32 sum of squares per block, each over the same stretch every time.
__global__ void squares_kernel(const float* x, int64_t n, int64_t stretch, float* sums) {
  __shared__ float shared[33];
  const int64_t begin = int64_t{blockIdx.x} * stretch;
  const int64_t end = min(n, begin + stretch);
  float sum = 0.0F;
  for (int64_t i = begin + threadIdx.x * 4; i + 4 <= end; i += kThreads * 4) {
    const float4 v = *reinterpret_cast<const float4*>(x + i);
    sum += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
  }
  for (int64_t i = begin + (end - begin) / 4 * 4 + threadIdx.x; i < end; i += kThreads) {
    sum += x[i] * x[i];
  }
  const float total = block_sum(sum, shared);
  if (threadIdx.x == 0) {
    sums[blockIdx.x] = total;
  }
}

}  // namespace

void adamw(Device& device, const AdamWSlice& s, const AdamWUpdate& update) {
  const auto blocks = static_cast<unsigned>((s.n / 4 + kThreads - 1) / kThreads);
  with_type(s.copy_type, [&](auto type) {
    using T = decltype(type);
    adamw_kernel<<<blocks, kThreads, 0, cuda(device).stream()>>>(
        s.weights, s.gradients, s.first, s.second, static_cast<T*>(s.copy), s.n, update);
  });
  check_cuda(cudaGetLastError(), "adamw");
}

double l2_norm(Device& device, const float* x, int64_t n) {
  CudaDevice& gpu = cuda(device);
  const int64_t wanted = (n + kThreads * 4 - 1) / (kThreads * 4);
  const int64_t blocks = std::clamp<int64_t>(wanted, 1, gpu.multiprocessors() * 16L);
  const int64_t stretch = ((n + blocks - 1) / blocks + 3) / 4 * 4;
  auto* const sums = gpu.state<Scratch>().take<float>(blocks);
  squares_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, gpu.stream()>>>(x, n, stretch, sums);
  check_cuda(cudaGetLastError(), "l2_norm");
  std::vector<float> on_host(static_cast<size_t>(blocks));
  gpu.download(on_host.data(), sums, on_host.size() * sizeof(float));
  double total = 0.0;
  for (const float sum : on_host) {
    total += sum;
  }
  return std::sqrt(total);
}

}  // namespace sft::gpu
