#include "ops/plain_activation.h"

#include "ops/cuda/activate.cuh"
#include "ops/cuda/rows.cuh"

namespace sft::gpu {

namespace {

constexpr int kThreads = 256;

// Without grad_y: y = act(x); with it: y = grad_y act'(x).
template <Activation kind, class T>
__global__ void activation_kernel(const T* x, const T* grad_y, int64_t n, T* y) {
  const int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kVec;
  if (i >= n) {
    return;
  }
  const bool whole = i + kVec <= n;
  Vec v = whole ? load_vec(x + i) : load_some(x + i, n - i);
  Vec g{};
  if (grad_y != nullptr) {
    g = whole ? load_vec(grad_y + i) : load_some(grad_y + i, n - i);
  }
#pragma unroll
  for (int k = 0; k < kVec; ++k) {
    const float2 a = activate<kind>(v.v[k]);
    v.v[k] = grad_y != nullptr ? g.v[k] * a.y : a.x;
  }
  if (whole) {
    store_vec(y + i, v);
  } else {
    store_some(y + i, v, n - i);
  }
}

void launch(Device& device, const Tensor& x, const Tensor& grad_y, Activation activation,
            Tensor& y) {
  const int64_t n = x.shape.elements();
  const auto blocks = static_cast<unsigned>((n + kThreads * kVec - 1) / (kThreads * kVec));
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    const auto kernel = activation == Activation::silu
                            ? activation_kernel<Activation::silu, T>
                            : activation_kernel<Activation::gelu_tanh, T>;
    kernel<<<blocks, kThreads, 0, cuda(device).stream()>>>(x.as<T>(), grad_y.as<T>(), n, y.as<T>());
  });
  check_cuda(cudaGetLastError(), "activation");
}

}  // namespace

void plain_activation_forward(Device& device, const Tensor& x, Activation activation, Tensor& y) {
  launch(device, x, {}, activation, y);
}

void plain_activation_backward(Device& device, const Tensor& grad_y, const Tensor& x,
                               Activation activation, Tensor& grad_x) {
  launch(device, x, grad_y, activation, grad_x);
}

}  // namespace sft::gpu
