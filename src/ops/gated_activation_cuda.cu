#include "ops/gated_activation.h"

#include <algorithm>

#include "ops/cuda/activate.cuh"
#include "ops/cuda/rows.cuh"

namespace sft::gpu {

namespace {

template <Activation kind, class T>
__global__ void forward_kernel(const T* gate_up, int64_t n, T* y) {
  const int64_t i = (int64_t{blockIdx.y} * blockDim.x + threadIdx.x) * kVec;
  if (i >= n) {
    return;
  }
  const bool aligned = n % kVec == 0;
  const int64_t row = blockIdx.x;
  const T* gate = gate_up + row * 2 * n;
  const Vec g = load_row(gate, i, n, aligned);
  Vec u = load_row(gate + n, i, n, aligned);
#pragma unroll
  for (int j = 0; j < kVec; ++j) {
    u.v[j] *= activate<kind>(g.v[j]).x;
  }
  store_row(y + row * n, i, n, aligned, u);
}

template <Activation kind, class T>
__global__ void backward_kernel(const T* grad_y, const T* gate_up, int64_t n, T* grad) {
  const int64_t i = (int64_t{blockIdx.y} * blockDim.x + threadIdx.x) * kVec;
  if (i >= n) {
    return;
  }
  const bool aligned = n % kVec == 0;
  const int64_t row = blockIdx.x;
  const T* gate = gate_up + row * 2 * n;
  const Vec g = load_row(gate, i, n, aligned);
  const Vec u = load_row(gate + n, i, n, aligned);
  const Vec dy = load_row(grad_y + row * n, i, n, aligned);
  Vec dg, du;
#pragma unroll
  for (int j = 0; j < kVec; ++j) {
    const float2 a = activate<kind>(g.v[j]);
    dg.v[j] = dy.v[j] * u.v[j] * a.y;
    du.v[j] = dy.v[j] * a.x;
  }
  store_row(grad + row * 2 * n, i, n, aligned, dg);
  store_row(grad + row * 2 * n + n, i, n, aligned, du);
}

constexpr int kThreads = 128;

dim3 grid(int64_t rows, int64_t n) {
  return {static_cast<unsigned>(rows),
          static_cast<unsigned>((n + kThreads * kVec - 1) / (kThreads * kVec))};
}

}  // namespace

void gated_activation_forward(Device& device, const Tensor& gate_up, Activation activation,
                              Tensor& y) {
  const int64_t n = y.shape[1];
  with_type(y.dtype, [&](auto type) {
    using T = decltype(type);
    const auto kernel = activation == Activation::silu ? forward_kernel<Activation::silu, T>
                                                       : forward_kernel<Activation::gelu_tanh, T>;
    kernel<<<grid(y.shape[0], n), kThreads, 0, cuda(device).stream()>>>(gate_up.as<T>(), n,
                                                                        y.as<T>());
  });
  check_cuda(cudaGetLastError(), "gated_activation");
}

void gated_activation_backward(Device& device, const Tensor& grad_y, const Tensor& gate_up,
                               Activation activation, Tensor& grad_gate_up) {
  const int64_t n = grad_y.shape[1];
  with_type(grad_y.dtype, [&](auto type) {
    using T = decltype(type);
    const auto kernel = activation == Activation::silu ? backward_kernel<Activation::silu, T>
                                                       : backward_kernel<Activation::gelu_tanh, T>;
    kernel<<<grid(grad_y.shape[0], n), kThreads, 0, cuda(device).stream()>>>(
        grad_y.as<T>(), gate_up.as<T>(), n, grad_gate_up.as<T>());
  });
  check_cuda(cudaGetLastError(), "gated_activation.backward");
}

}  // namespace sft::gpu
