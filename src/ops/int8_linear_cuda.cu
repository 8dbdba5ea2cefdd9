#include "ops/int8_linear.h"

#include "ops/cuda/rows.cuh"

namespace sft::gpu {

namespace {

constexpr float kStep = 7.874015718698502e-3F, kStepSquared = 6.200124e-05F;
constexpr int kThreads = 256;

template <class T>
__device__ float as_half(T x) {
  return __half2float(__float2half_rn(widen(x)));
}

// A block has a row.
template <class T>
__global__ void scale_kernel(const T* x, int64_t in, float threshold, float* scales,
                             int32_t* outliers) {
  __shared__ float most[kThreads];
  const T* const row = x + int64_t{blockIdx.x} * in;
  float own = 0.0F;
  for (int64_t i = threadIdx.x; i < in; i += kThreads) {
    const float v = fabsf(as_half(row[i]));
    if (threshold > 0.0F && v >= threshold) {
      outliers[i] = 1;
    } else {
      own = fmaxf(own, v);
    }
  }
  most[threadIdx.x] = own;
  __syncthreads();
  for (int step = kThreads / 2; step > 0; step /= 2) {
    if (threadIdx.x < step) {
      most[threadIdx.x] = fmaxf(most[threadIdx.x], most[threadIdx.x + step]);
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    scales[blockIdx.x] = most[0];
  }
}

template <class T>
__global__ void code_kernel(const T* x, int64_t in, const float* scales, const int32_t* outliers,
                            int8_t* codes) {
  const int64_t row = blockIdx.x;
  const float most = scales[row];
  const float inverse = most > 0.0F ? 1.0F / most * 127.0F : 0.0F;
  for (int64_t i = threadIdx.x; i < in; i += kThreads) {
    codes[row * in + i] =
        outliers[i] != 0 ? 0
                         : static_cast<int8_t>(__float2int_rn(as_half(x[row * in + i]) * inverse));
  }
}

// A warp has an output.
template <class T>
__global__ void product_kernel(const T* x, const int8_t* codes, const float* scales,
                               const int32_t* outliers, const int8_t* weight, const float* most,
                               const T* bias, int64_t in, int64_t out, int64_t first,
                               int64_t stride, T* y) {
  const int64_t t = blockIdx.y;
  const int64_t j = int64_t{blockIdx.x} * (kThreads / 32) + threadIdx.x / 32;
  if (j >= out) {
    return;
  }
  int32_t sum = 0;
  float apart = 0.0F;
  for (int64_t i = threadIdx.x % 32; i < in; i += 32) {
    const int32_t code = weight[j * in + i];
    sum += codes[t * in + i] * code;
    if (outliers[i] != 0) {
      apart += widen(x[t * in + i]) * (static_cast<float>(code) * most[j] * kStep);
    }
  }
  for (int step = 16; step > 0; step /= 2) {
    sum += __shfl_xor_sync(0xffffffffU, sum, step);
    apart += __shfl_xor_sync(0xffffffffU, apart, step);
  }
  if (threadIdx.x % 32 == 0) {
    const float whole = static_cast<float>(sum) * (scales[t] * most[j]) * kStepSquared;
    const float shift = bias == nullptr ? 0.0F : widen(bias[first + j]);
    y[t * stride + first + j] = narrow<T>(whole + shift + apart);
  }
}

template <class T, class W>
__global__ void plain_kernel(const T* x, const W* weight, const T* bias, int64_t in, int64_t out,
                             int64_t first, int64_t stride, T* y) {
  const int64_t t = blockIdx.y;
  const int64_t j = int64_t{blockIdx.x} * (kThreads / 32) + threadIdx.x / 32;
  if (j >= out) {
    return;
  }
  float sum = 0.0F;
  for (int64_t i = threadIdx.x % 32; i < in; i += 32) {
    sum += widen(x[t * in + i]) * widen(weight[j * in + i]);
  }
  for (int step = 16; step > 0; step /= 2) {
    sum += __shfl_xor_sync(0xffffffffU, sum, step);
  }
  if (threadIdx.x % 32 == 0) {
    y[t * stride + first + j] = narrow<T>(sum + (bias == nullptr ? 0.0F : widen(bias[first + j])));
  }
}

}  // namespace

void int8_rows(Device& device, const Tensor& x, float threshold, Tensor& codes, Tensor& scales,
               Tensor& outliers) {
  CudaDevice& gpu = cuda(device);
  const auto rows = static_cast<unsigned>(x.shape[0]);
  const int64_t in = x.shape[1];
  check_cuda(cudaMemsetAsync(outliers.data, 0, outliers.bytes(), gpu.stream()), "int8_rows");
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    scale_kernel<<<rows, kThreads, 0, gpu.stream()>>>(x.as<T>(), in, threshold, scales.f32(),
                                                      outliers.i32());
    code_kernel<<<rows, kThreads, 0, gpu.stream()>>>(x.as<T>(), in, scales.f32(), outliers.i32(),
                                                     codes.as<int8_t>());
  });
  check_cuda(cudaGetLastError(), "int8_rows");
}

void int8_linear(Device& device, const Tensor& x, const Tensor& codes, const Tensor& scales,
                 const Tensor& outliers, const Tensor& weight, const Tensor& bias, int64_t first,
                 Tensor& y) {
  const int64_t in = x.shape[1], out = weight.shape[0];
  const dim3 grid(static_cast<unsigned>((out + kThreads / 32 - 1) / (kThreads / 32)),
                  static_cast<unsigned>(x.shape[0]));
  const cudaStream_t stream = cuda(device).stream();
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    if (weight.dtype == DType::i8_rows) {
      const auto* const most = reinterpret_cast<const float*>(
          weight.as<std::byte>() + scales_at(weight.dtype, weight.shape));
      product_kernel<<<grid, kThreads, 0, stream>>>(
          x.as<T>(), codes.as<int8_t>(), scales.f32(), outliers.i32(), weight.as<int8_t>(), most,
          bias.as<T>(), in, out, first, y.shape[1], y.as<T>());
      return;
    }
    with_type(weight.dtype, [&](auto kept) {
      using W = decltype(kept);
      plain_kernel<<<grid, kThreads, 0, stream>>>(x.as<T>(), weight.as<W>(), bias.as<T>(), in, out,
                                                  first, y.shape[1], y.as<T>());
    });
  });
  check_cuda(cudaGetLastError(), "int8_linear");
}

}  // namespace sft::gpu
