#include "ops/clamped_glu.h"

#include "ops/cuda/activate.cuh"
#include "ops/cuda/rows.cuh"

namespace sft::gpu {

namespace {

constexpr int kThreads = 128;
constexpr int kPairs = kVec / 2;  // of gate and up that a thread has

// gate sigmoid(alpha gate) and its derivative.
struct Half {
  float value, slope;
  __device__ Half(float gate, float alpha) {
    const float s = reciprocal(1.0F + power_of_two(-1.4426950409F * alpha * gate));
    value = gate * s;
    slope = s * (1.0F + alpha * gate * (1.0F - s));
  }
};

// Comparisons that leave what is no number as it is.
__device__ inline float below(float x, float limit) { return x > limit ? limit : x; }
__device__ inline float within(float x, float limit) {
  return x > limit ? limit : x < -limit ? -limit : x;
}

template <class T>
__global__ void forward_kernel(const T* gate_up, int64_t n, ClampedGlu form, T* y) {
  const int64_t i = (int64_t{blockIdx.y} * blockDim.x + threadIdx.x) * kPairs;
  if (i >= n) {
    return;
  }
  const bool aligned = 2 * n % kVec == 0;
  const int64_t row = blockIdx.x;
  const Vec x = load_row(gate_up + row * 2 * n, 2 * i, 2 * n, aligned);
#pragma unroll
  for (int j = 0; j < kPairs; ++j) {
    if (i + j < n) {
      const Half half(below(x.v[2 * j], form.limit), form.alpha);
      y[row * n + i + j] = narrow<T>((within(x.v[2 * j + 1], form.limit) + 1.0F) * half.value);
    }
  }
}

template <class T>
__global__ void backward_kernel(const T* grad_y, const T* gate_up, int64_t n, ClampedGlu form,
                                T* grad) {
  const int64_t i = (int64_t{blockIdx.y} * blockDim.x + threadIdx.x) * kPairs;
  if (i >= n) {
    return;
  }
  const bool aligned = 2 * n % kVec == 0;
  const int64_t row = blockIdx.x;
  const Vec x = load_row(gate_up + row * 2 * n, 2 * i, 2 * n, aligned);
  Vec out;
#pragma unroll
  for (int j = 0; j < kPairs; ++j) {
    const float gate = x.v[2 * j];
    const float up = x.v[2 * j + 1];
    const float g = i + j < n ? sft::widen(grad_y[row * n + i + j]) : 0.0F;
    const Half half(below(gate, form.limit), form.alpha);
    out.v[2 * j] = gate > form.limit ? 0.0F : g * (within(up, form.limit) + 1.0F) * half.slope;
    out.v[2 * j + 1] = up > form.limit || up < -form.limit ? 0.0F : g * half.value;
  }
  store_row(grad + row * 2 * n, 2 * i, 2 * n, aligned, out);
}

dim3 grid(int64_t rows, int64_t n) {
  return {static_cast<unsigned>(rows),
          static_cast<unsigned>((n + kThreads * kPairs - 1) / (kThreads * kPairs))};
}

}  // namespace

void clamped_glu_forward(Device& device, const Tensor& gate_up, const ClampedGlu& form, Tensor& y) {
  const int64_t n = y.shape[1];
  with_type(y.dtype, [&](auto type) {
    using T = decltype(type);
    forward_kernel<<<grid(y.shape[0], n), kThreads, 0, cuda(device).stream()>>>(gate_up.as<T>(), n,
                                                                                form, y.as<T>());
  });
  check_cuda(cudaGetLastError(), "clamped_glu");
}

void clamped_glu_backward(Device& device, const Tensor& grad_y, const Tensor& gate_up,
                          const ClampedGlu& form, Tensor& grad_gate_up) {
  const int64_t n = grad_y.shape[1];
  with_type(grad_y.dtype, [&](auto type) {
    using T = decltype(type);
    backward_kernel<<<grid(grad_y.shape[0], n), kThreads, 0, cuda(device).stream()>>>(
        grad_y.as<T>(), gate_up.as<T>(), n, form, grad_gate_up.as<T>());
  });
  check_cuda(cudaGetLastError(), "clamped_glu.backward");
}

}  // namespace sft::gpu
