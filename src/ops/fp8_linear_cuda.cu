#include "ops/fp8_linear.h"

#include <cuda_fp8.h>

#include <algorithm>

#include "device/cuda/scratch.h"
#include "ops/cuda/gemm.h"
#include "ops/cuda/rows.cuh"
#include "ops/cuda/vec_max.cuh"

namespace sft::gpu {

namespace {

constexpr float kMost = 448.0F;
constexpr int kHeld = 5;  // vectors of a row that a thread keeps

const float* scales_of(const Tensor& weight) {
  return reinterpret_cast<const float*>(weight.as<uint8_t>() +
                                        scales_at(weight.dtype, weight.shape));
}

__device__ inline uint32_t codes_of(float a, float b, float c, float d) {
  const uint32_t low = __nv_cvt_float2_to_fp8x2(make_float2(a, b), __NV_SATFINITE, __NV_E4M3);
  const uint32_t high = __nv_cvt_float2_to_fp8x2(make_float2(c, d), __NV_SATFINITE, __NV_E4M3);
  return low | high << 16;
}

__device__ inline uint2 codes_of(const Vec& x, float factor) {
  float v[kVec];
#pragma unroll
  for (int k = 0; k < kVec; ++k) {
    v[k] = __fmul_rn(x.v[k], factor);
  }
  return {codes_of(v[0], v[1], v[2], v[3]), codes_of(v[4], v[5], v[6], v[7])};
}

__device__ inline float number_of(uint32_t code) {
  return __half2float(
      __half(__nv_cvt_fp8_to_halfraw(static_cast<__nv_fp8_storage_t>(code & 255U), __NV_E4M3)));
}

// Rows of whole vectors, n of at most kThreads * kHeld * kVec: a block reads a row once and keeps
// it in registers; the factors of columns wait in shared memory for all its rows.
template <class T, int kThreads, bool kColumns>
__global__ void __launch_bounds__(kThreads)
    held_rows_kernel(const T* x, const float* columns, int64_t rows, int64_t n, uint8_t* codes,
                     float* scales) {
  extern __shared__ __align__(16) float factors[];
  if constexpr (kColumns) {
    for (int64_t i = threadIdx.x; i < n; i += kThreads) {
      factors[i] = columns[i];
    }
    __syncthreads();
  }
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    Packed<T> raw[kHeld];
#pragma unroll
    for (int h = 0; h < kHeld; ++h) {
      const int64_t i = (h * kThreads + int64_t{threadIdx.x}) * kVec;
      raw[h] = i < n ? *reinterpret_cast<const Packed<T>*>(x + row * n + i) : Packed<T>{};
    }
    const auto value = [&](int h) {
      Vec v = unpack(raw[h]);
      const int64_t i = (h * kThreads + int64_t{threadIdx.x}) * kVec;
      if (kColumns && i < n) {
        const Vec c = load_vec(factors + i);
#pragma unroll
        for (int k = 0; k < kVec; ++k) {
          v.v[k] = __fmul_rn(v.v[k], c.v[k]);
        }
      }
      return v;
    };
    float most = 0.0F;
#pragma unroll
    for (int h = 0; h < kHeld; ++h) {
      most = fmaxf(most, largest(value(h)));
    }
    most = block_max<kThreads>(most);
    const float inverse = most > 0.0F ? __fdiv_rn(kMost, most) : 0.0F;
#pragma unroll
    for (int h = 0; h < kHeld; ++h) {
      const int64_t i = (h * kThreads + int64_t{threadIdx.x}) * kVec;
      if (i < n) {
        *reinterpret_cast<uint2*>(codes + row * n + i) = codes_of(value(h), inverse);
      }
    }
    if (threadIdx.x == 0) {
      scales[row] = __fdiv_rn(most, kMost);
    }
  }
}

// Any row: a thread block reads it twice, the second time from a cache. Codes go to `codes`, or
// what they stand for to `y`.
template <class T, int kThreads>
__global__ void rows_kernel(const T* x, const float* columns, int64_t n, uint8_t* codes,
                            float* scales, T* y) {
  const int64_t begin = int64_t{blockIdx.x} * n;
  const bool aligned = n % kVec == 0;
  const auto load = [&](int64_t i) {
    Vec v = load_row(x + begin, i, n, aligned);
    if (columns != nullptr) {
      const Vec c = load_row(columns, i, n, aligned);
#pragma unroll
      for (int k = 0; k < kVec; ++k) {
        v.v[k] = __fmul_rn(v.v[k], c.v[k]);
      }
    }
    return v;
  };
  float most = 0.0F;
  for (int64_t i = int64_t{threadIdx.x} * kVec; i < n; i += kThreads * kVec) {
    most = fmaxf(most, largest(load(i)));
  }
  most = block_max<kThreads>(most);
  const float inverse = most > 0.0F ? __fdiv_rn(kMost, most) : 0.0F;
  const float scale = __fdiv_rn(most, kMost);
  for (int64_t i = int64_t{threadIdx.x} * kVec; i < n; i += kThreads * kVec) {
    const uint2 packed = codes_of(load(i), inverse);
    if (y == nullptr && aligned) {
      *reinterpret_cast<uint2*>(codes + begin + i) = packed;
      continue;
    }
#pragma unroll
    for (int k = 0; k < kVec; ++k) {
      const uint32_t code = (k < 4 ? packed.x : packed.y) >> (k % 4 * 8);
      if (i + k < n && y == nullptr) {
        codes[begin + i + k] = static_cast<uint8_t>(code & 255U);
      } else if (i + k < n) {
        const float column = columns != nullptr ? columns[i + k] : 1.0F;
        y[begin + i + k] = sft::narrow<T>(
            column != 0.0F ? __fdiv_rn(__fmul_rn(number_of(code), scale), column) : 0.0F);
      }
    }
  }
  if (threadIdx.x == 0 && y == nullptr) {
    scales[blockIdx.x] = scale;
  }
}

// Calls f with the number of threads for a row of n values.
template <class F>
void with_threads(int64_t n, const F& f) {
  if (n <= 128 * kVec) {
    f(std::integral_constant<int, 128>{});
  } else if (n <= 256 * kVec) {
    f(std::integral_constant<int, 256>{});
  } else {
    f(std::integral_constant<int, 512>{});
  }
}

// False where rows are too long, or no whole vectors.
template <class T>
bool held_rows(CudaDevice& gpu, const Tensor& x, const Tensor& columns, Tensor& codes,
               Tensor& scales) {
  const int64_t rows = x.shape[0], n = x.shape[1];
  const int64_t shared = columns.data != nullptr ? n * int64_t{sizeof(float)} : 0;
  const auto launch = [&](auto threads) {
    constexpr int kThreads = decltype(threads)::value;
    const auto kernel = columns.data != nullptr ? held_rows_kernel<T, kThreads, true>
                                                : held_rows_kernel<T, kThreads, false>;
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shared)),
               "shared memory");
    const int64_t at_once = gpu.multiprocessors() * int64_t{2048 / kThreads};
    kernel<<<static_cast<unsigned>(std::min(rows, at_once)), kThreads, static_cast<size_t>(shared),
             gpu.stream()>>>(x.as<T>(), columns.f32(), rows, n, codes.as<uint8_t>(), scales.f32());
  };
  constexpr int64_t kOfThread = int64_t{kHeld} * kVec;
  constexpr int64_t kStatic = 1024;  // of shared memory, for the largest magnitude
  if (n % kVec != 0 || n > 1024 * kOfThread || shared > gpu.shared_memory() - kStatic) {
    return false;
  }
  if (n <= 128 * kOfThread) {
    launch(std::integral_constant<int, 128>{});
  } else if (n <= 256 * kOfThread) {
    launch(std::integral_constant<int, 256>{});
  } else if (n <= 512 * kOfThread) {
    launch(std::integral_constant<int, 512>{});
  } else {
    launch(std::integral_constant<int, 1024>{});
  }
  return true;
}

constexpr int kTile = 64;

// 64 x 64 codes; a thread turns 4 x 4 of them.
__global__ void transpose_kernel(const uint8_t* x, int64_t rows, int64_t columns, uint8_t* y,
                                 int64_t y_stride) {
  __shared__ uint32_t tile[kTile][kTile / 4 + 1];
  const int64_t row0 = int64_t{blockIdx.y} * kTile;
  const int64_t column0 = int64_t{blockIdx.x} * kTile;
  const int across = static_cast<int>(threadIdx.x) % 16;
  const int down = static_cast<int>(threadIdx.x) / 16;
  uint32_t w[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int64_t row = row0 + down * 4 + i;
    const int64_t column = column0 + across * 4;
    w[i] = row < rows && column < columns
               ? __ldg(reinterpret_cast<const uint32_t*>(x + row * columns + column))
               : 0U;
  }
  // Bytes of two words side by side, then of two pairs.
  const uint32_t a = __byte_perm(w[0], w[1], 0x5140), b = __byte_perm(w[2], w[3], 0x5140);
  const uint32_t c = __byte_perm(w[0], w[1], 0x7362), d = __byte_perm(w[2], w[3], 0x7362);
  tile[across * 4][down] = __byte_perm(a, b, 0x5410);
  tile[across * 4 + 1][down] = __byte_perm(a, b, 0x7632);
  tile[across * 4 + 2][down] = __byte_perm(c, d, 0x5410);
  tile[across * 4 + 3][down] = __byte_perm(c, d, 0x7632);
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int64_t column = column0 + down + i * 16;
    const int64_t row = row0 + across * 4;
    if (column < columns && row < rows) {
      *reinterpret_cast<uint32_t*>(y + column * y_stride + row) = tile[down + i * 16][across];
    }
  }
}

// y[:, 0 .. n) (+)= the product of codes times both scales, + bias.
template <class T>
__global__ void finish_kernel(const float* product, int64_t rows, int64_t n, const float* a_scales,
                              const float* b_scales, const T* bias, bool accumulate, T* y,
                              int64_t stride) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= n) {
    return;
  }
  const float column = b_scales[i];
  const float shift = bias != nullptr ? sft::widen(bias[i]) : 0.0F;
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    T& to = y[row * stride + i];
    const float value = product[row * n + i] * a_scales[row] * column + shift;
    to = sft::narrow<T>(accumulate ? sft::widen(to) + value : value);
  }
}

__global__ void ones_kernel(float* x, int64_t n) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < n) {
    x[i] = 1.0F;
  }
}

}  // namespace

void fp8_rows(Device& device, const Tensor& x, const Tensor& columns, Tensor& codes,
              Tensor& scales) {
  CudaDevice& gpu = cuda(device);
  const int64_t rows = x.shape[0], n = x.shape[1];
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    if (sizeof(T) == 2 && held_rows<T>(gpu, x, columns, codes, scales)) {
      return;
    }
    with_threads(n, [&](auto threads) {
      rows_kernel<T, threads.value>
          <<<static_cast<unsigned>(rows), threads.value, 0, gpu.stream()>>>(
              x.as<T>(), columns.f32(), n, codes.as<uint8_t>(), scales.f32(), nullptr);
    });
  });
  check_cuda(cudaGetLastError(), "fp8_rows");
}

void fp8_rounded(Device& device, const Tensor& x, const Tensor& columns, Tensor& y) {
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    with_threads(x.shape[1], [&](auto threads) {
      rows_kernel<T, threads.value>
          <<<static_cast<unsigned>(x.shape[0]), threads.value, 0, cuda(device).stream()>>>(
              x.as<T>(), columns.f32(), x.shape[1], nullptr, nullptr, y.as<T>());
    });
  });
  check_cuda(cudaGetLastError(), "fp8_rounded");
}

void fp8_columns(Device& device, const Tensor& weight, int64_t first, Tensor& columns) {
  device.copy(columns.f32() + first, scales_of(weight),
              static_cast<size_t>(weight.shape[0]) * sizeof(float));
}

void fp8_transposed(Device& device, const Tensor& weight, int64_t first, Tensor& codes,
                    Tensor& scales) {
  const int64_t out = weight.shape[0], in = weight.shape[1];
  SFT_ASSERT(out % 4 == 0 && in % 4 == 0 && first % 4 == 0);
  const dim3 grid(static_cast<unsigned>((in + kTile - 1) / kTile),
                  static_cast<unsigned>((out + kTile - 1) / kTile));
  const cudaStream_t stream = cuda(device).stream();
  transpose_kernel<<<grid, 256, 0, stream>>>(weight.as<uint8_t>(), out, in,
                                             codes.as<uint8_t>() + first, codes.shape[1]);
  ones_kernel<<<static_cast<unsigned>((in + 255) / 256), 256, 0, stream>>>(scales.f32(), in);
  check_cuda(cudaGetLastError(), "fp8_transposed");
}

void fp8_product(Device& device, const Tensor& a, const Tensor& a_scales, const Tensor& b,
                 const Tensor& b_scales, const Tensor& bias, int64_t first, bool fast, Tensor& y,
                 bool accumulate) {
  CudaDevice& gpu = cuda(device);
  const int64_t rows = a.shape[0], n = b.shape[0], k = a.shape[1];
  const float* const b_scale = b_scales.data != nullptr ? b_scales.f32() : scales_of(b);
  std::byte* const to = y.as<std::byte>() + first * static_cast<int64_t>(size_of(y.dtype));
  CudaGemm product{.transpose_b = true,
                   .m = rows,
                   .n = n,
                   .k = k,
                   .beta = accumulate ? 1.0F : 0.0F,
                   .a = a.data,
                   .b = b.data,
                   .c = to,
                   .lda = k,
                   .ldb = k,
                   .ldc = y.shape[1],
                   .type = DType::f8_rows,
                   .out_type = y.dtype,
                   .bias = bias.data,
                   .a_scales = a_scales.f32(),
                   .b_scales = b_scale,
                   .fast = fast};
  if (scales_by_rows(gpu) && (y.dtype == DType::bf16 || bias.data == nullptr)) {
    return gemm(gpu, product);
  }
  // Elsewhere cuBLASLt has no scales by rows, and never a bias of float32: some rows at a time.
  const int64_t step = static_cast<int64_t>(Scratch::kBytes / sizeof(float)) / n;
  for (int64_t row = 0; row < rows; row += step) {
    const int64_t count = std::min(step, rows - row);
    auto* const wide = gpu.state<Scratch>().take<float>(count * n);
    product.m = count;
    product.beta = 0.0F;
    product.a = a.as<uint8_t>() + row * k;
    product.c = wide;
    product.ldc = n;
    product.out_type = DType::f32;
    product.bias = nullptr;
    product.a_scales = product.b_scales = nullptr;
    gemm(gpu, product);
    const dim3 grid(static_cast<unsigned>((n + 255) / 256),
                    static_cast<unsigned>(std::min<int64_t>(count, 1024)));
    with_type(y.dtype, [&](auto type) {
      using T = decltype(type);
      finish_kernel<<<grid, 256, 0, gpu.stream()>>>(
          wide, count, n, a_scales.f32() + row, b_scale, bias.as<T>(), accumulate,
          reinterpret_cast<T*>(to) + row * y.shape[1], y.shape[1]);
    });
  }
  check_cuda(cudaGetLastError(), "fp8_linear");
}

}  // namespace sft::gpu
