#include "ops/cuda/rows.cuh"
#include "ops/sigmoid_gate.h"

namespace sft::gpu {

namespace {

constexpr int kThreads = 256;

__device__ inline float sigmoid(float x) { return 1.0F / (1.0F + __expf(-x)); }

// A gate for each value. Without grad: out = x sigmoid(gate); with it the gradients.
template <class T>
__global__ void each_kernel(const T* grad, const T* x, const T* gate, int64_t n, T* out,
                            T* grad_gate) {
  const int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kVec;
  if (i >= n) {
    return;
  }
  const bool whole = i + kVec <= n;
  const auto load = [&](const T* from) {
    return whole ? load_vec(from + i) : load_some(from + i, n - i);
  };
  const auto store = [&](T* to, const Vec& v) {
    whole ? store_vec(to + i, v) : store_some(to + i, v, n - i);
  };
  const Vec a = load(x);
  const Vec b = load(gate);
  const Vec g = grad != nullptr ? load(grad) : Vec{};
  Vec first, second;
#pragma unroll
  for (int k = 0; k < kVec; ++k) {
    const float open = sigmoid(b.v[k]);
    first.v[k] = (grad != nullptr ? g.v[k] : a.v[k]) * open;
    second.v[k] = g.v[k] * a.v[k] * open * (1.0F - open);
  }
  store(out, first);
  if (grad != nullptr) {
    store(grad_gate, second);
  }
}

// A gate for `width` values: a block for each gate.
template <class T>
__global__ void shared_kernel(const T* grad, const T* x, const T* gate, int64_t width, T* out,
                              T* grad_gate) {
  __shared__ float sums[kThreads / 32];
  const int64_t at = int64_t{blockIdx.x} * width;
  const float open = sigmoid(widen(gate[blockIdx.x]));
  float sum = 0.0F;
  for (int64_t i = threadIdx.x; i < width; i += kThreads) {
    const float a = widen(x[at + i]);
    const float g = grad != nullptr ? widen(grad[at + i]) : a;
    out[at + i] = narrow<T>(g * open);
    sum += g * a;
  }
  if (grad == nullptr) {
    return;
  }
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) {
    sums[threadIdx.x / 32] = sum;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    float total = 0.0F;
    for (const float part : sums) {
      total += part;
    }
    grad_gate[blockIdx.x] = narrow<T>(total * open * (1.0F - open));
  }
}

void launch(Device& device, const Tensor& grad, const Tensor& x, const Tensor& gate, Tensor& out,
            Tensor& grad_gate) {
  const int64_t n = x.shape.elements();
  const int64_t gates = gate.shape.elements();
  const bool each = n == gates;
  const auto blocks =
      static_cast<unsigned>(each ? (n + kThreads * kVec - 1) / (kThreads * kVec) : gates);
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    const auto kernel = each ? each_kernel<T> : shared_kernel<T>;
    kernel<<<blocks, kThreads, 0, cuda(device).stream()>>>(grad.as<T>(), x.as<T>(), gate.as<T>(),
                                                           each ? n : n / gates, out.as<T>(),
                                                           grad_gate.as<T>());
  });
  check_cuda(cudaGetLastError(), "sigmoid_gate");
}

}  // namespace

void sigmoid_gate_forward(Device& device, const Tensor& x, const Tensor& gate, Tensor& y) {
  Tensor none;
  launch(device, {}, x, gate, y, none);
}

void sigmoid_gate_backward(Device& device, const Tensor& grad_y, const Tensor& x,
                           const Tensor& gate, Tensor& grad_x, Tensor& grad_gate) {
  launch(device, grad_y, x, gate, grad_x, grad_gate);
}

}  // namespace sft::gpu
