#include "ops/int8_linear.h"

#include <algorithm>

#include "device/cuda/scratch.h"
#include "ops/cuda/gemm.h"
#include "ops/cuda/rows.cuh"
#include "ops/cuda/vec_max.cuh"
#include "ops/kernels.h"

namespace sft::gpu {

namespace {

constexpr float kStep = 7.874015718698502e-3F, kStepSquared = 6.200124e-05F;
constexpr int kThreads = 256;
constexpr int kTile = 64, kDepth = 16;  // of the product of outlying columns

template <class T>
__device__ inline Vec load_halves(const T* row, int64_t i, int64_t n, bool aligned) {
  Vec v = load_row(row, i, n, aligned);
#pragma unroll
  for (int k = 0; k < kVec; ++k) {
    v.v[k] = __half2float(__float2half_rn(v.v[k]));
  }
  return v;
}

// A block has a row: its largest magnitude below the threshold, and the columns that reach it.
template <class T>
__global__ void scale_kernel(const T* x, int64_t in, float threshold, float* scales,
                             int32_t* outliers) {
  const T* const row = x + int64_t{blockIdx.x} * in;
  const bool aligned = in % kVec == 0;
  float most = 0.0F;
  for (int64_t i = int64_t{threadIdx.x} * kVec; i < in; i += kThreads * kVec) {
    const Vec v = load_halves(row, i, in, aligned);
#pragma unroll
    for (int k = 0; k < kVec; ++k) {
      if (threshold > 0.0F && fabsf(v.v[k]) >= threshold) {
        outliers[i + k] = 1;
      } else {
        most = fmaxf(most, fabsf(v.v[k]));
      }
    }
  }
  most = block_max<kThreads>(most);
  if (threadIdx.x == 0) {
    scales[blockIdx.x] = most;
  }
}

template <class T>
__global__ void code_kernel(const T* x, int64_t in, const float* scales, const int32_t* outliers,
                            int8_t* codes) {
  const int64_t begin = int64_t{blockIdx.x} * in;
  const bool aligned = in % kVec == 0;
  const float most = scales[blockIdx.x];
  const float inverse = most > 0.0F ? __fmul_rn(__fdiv_rn(1.0F, most), 127.0F) : 0.0F;
  for (int64_t i = int64_t{threadIdx.x} * kVec; i < in; i += kThreads * kVec) {
    const Vec v = load_halves(x + begin, i, in, aligned);
    uint32_t words[2] = {};
#pragma unroll
    for (int k = 0; k < kVec; ++k) {
      const bool counts = i + k < in && outliers[i + k] == 0;
      const int code = counts ? __float2int_rn(__fmul_rn(v.v[k], inverse)) : 0;
      words[k / 4] |= (static_cast<uint32_t>(code) & 255U) << (k % 4 * 8);
    }
    if (aligned) {
      *reinterpret_cast<uint2*>(codes + begin + i) = {words[0], words[1]};
      continue;
    }
#pragma unroll
    for (int k = 0; k < kVec; ++k) {
      if (i + k < in) {
        codes[begin + i + k] = static_cast<int8_t>(words[k / 4] >> (k % 4 * 8) & 255U);
      }
    }
  }
}

// The numbers of the outlying columns, in order, and before them how many there are. One block.
__global__ void list_kernel(const int32_t* outliers, int64_t in, int32_t* list) {
  __shared__ int32_t counts[kThreads];
  const int64_t each = (in + kThreads - 1) / kThreads;
  const int64_t begin = min(int64_t{threadIdx.x} * each, in);
  const int64_t end = min(begin + each, in);
  int32_t own = 0;
  for (int64_t i = begin; i < end; ++i) {
    own += outliers[i] != 0 ? 1 : 0;
  }
  counts[threadIdx.x] = own;
  __syncthreads();
  int32_t at = 1;
  for (int i = 0; i < static_cast<int>(threadIdx.x); ++i) {
    at += counts[i];
  }
  for (int64_t i = begin; i < end; ++i) {
    if (outliers[i] != 0) {
      list[at++] = static_cast<int32_t>(i);
    }
  }
  if (threadIdx.x == kThreads - 1) {
    list[0] = at - 1;
  }
}

struct Weight {
  const int8_t* codes;
  const float* most;
  explicit Weight(const Tensor& w)
      : codes(w.as<int8_t>()),
        most(reinterpret_cast<const float*>(w.as<std::byte>() + scales_at(w.dtype, w.shape))) {}
};

// A thread has 4 x 4 outputs of 64 x 64: sums of whole numbers become y, with the bias and what the
// columns in `list` add, kDepth of them at a time.
template <class T>
__global__ void __launch_bounds__(kThreads)
    finish_kernel(const int32_t* sums, const T* x, const float* scales, const int32_t* list,
                  const Weight weight, const T* bias, int64_t rows, int64_t in, int64_t out, T* y,
                  int64_t stride) {
  __shared__ float x_part[kDepth][kTile];
  __shared__ float w_part[kDepth][kTile];
  const int64_t row0 = int64_t{blockIdx.y} * kTile, column0 = int64_t{blockIdx.x} * kTile;
  const int across = static_cast<int>(threadIdx.x) % 16 * 4;
  const int down = static_cast<int>(threadIdx.x) / 16 * 4;
  float apart[4][4] = {};
  const int count = list[0];
  for (int begin = 0; begin < count; begin += kDepth) {
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < kDepth * kTile; i += kThreads) {
      const int c = i % kDepth;
      const int at = i / kDepth;
      const int64_t column = begin + c < count ? list[1 + begin + c] : -1;
      const int64_t row = row0 + at;
      const int64_t j = column0 + at;
      x_part[c][at] = column >= 0 && row < rows ? sft::widen(x[row * in + column]) : 0.0F;
      w_part[c][at] = column >= 0 && j < out ? static_cast<float>(weight.codes[j * in + column]) *
                                                   weight.most[j] * kStep
                                             : 0.0F;
    }
    __syncthreads();
#pragma unroll
    for (int c = 0; c < kDepth; ++c) {
#pragma unroll
      for (int r = 0; r < 4; ++r) {
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          apart[r][k] += x_part[c][down + r] * w_part[c][across + k];
        }
      }
    }
  }
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const int64_t row = row0 + down + r;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int64_t j = column0 + across + k;
      if (row < rows && j < out) {
        const float whole =
            static_cast<float>(sums[row * out + j]) * (scales[row] * weight.most[j]) * kStepSquared;
        const float shift = bias != nullptr ? sft::widen(bias[j]) : 0.0F;
        y[row * stride + j] = sft::narrow<T>(whole + shift + apart[r][k]);
      }
    }
  }
}

// Sums of a product that no library takes, for sizes that are no multiples of 16. A warp has one.
__global__ void sums_kernel(const int8_t* a, const int8_t* b, int64_t in, int64_t out,
                            int32_t* sums) {
  const int64_t j = int64_t{blockIdx.x} * (kThreads / 32) + threadIdx.x / 32;
  if (j >= out) {
    return;
  }
  int32_t sum = 0;
  for (int64_t i = threadIdx.x % 32; i < in; i += 32) {
    sum += int32_t{a[blockIdx.y * in + i]} * b[j * in + i];
  }
  for (int step = 16; step > 0; step /= 2) {
    sum += __shfl_xor_sync(0xffffffffU, sum, step);
  }
  if (threadIdx.x % 32 == 0) {
    sums[blockIdx.y * out + j] = sum;
  }
}

void whole_product(CudaDevice& gpu, const int8_t* a, const int8_t* b, int64_t rows, int64_t in,
                   int64_t out, int32_t* sums) {
  if (in % 16 == 0 && out % 16 == 0) {
    return gemm(gpu, {.transpose_b = true,
                      .m = rows,
                      .n = out,
                      .k = in,
                      .a = a,
                      .b = b,
                      .c = sums,
                      .lda = in,
                      .ldb = in,
                      .ldc = out,
                      .type = DType::i8_rows,
                      .out_type = DType::i32});
  }
  const dim3 grid(static_cast<unsigned>((out + kThreads / 32 - 1) / (kThreads / 32)),
                  static_cast<unsigned>(rows));
  sums_kernel<<<grid, kThreads, 0, gpu.stream()>>>(a, b, in, out, sums);
}

// y[:, first ..) = x W^T + bias of a weight that is not in 8 bits; rows of it at a time, as they
// are widened.
void plain_product(CudaDevice& gpu, const Tensor& x, const Tensor& weight, const void* bias,
                   std::byte* to, Tensor& y) {
  const int64_t in = x.shape[1], out = weight.shape[0];
  const auto width = static_cast<int64_t>(size_of(x.dtype));
  const bool as_it_is = weight.dtype == x.dtype;
  const int64_t most = static_cast<int64_t>(Scratch::kBytes) / (in * width);
  for (int64_t row = 0; row < out; row += as_it_is ? out : most) {
    const int64_t count = as_it_is ? out : std::min(most, out - row);
    const Tensor part{const_cast<std::byte*>(weight.as<std::byte>()) +
                          row * in * static_cast<int64_t>(size_of(weight.dtype)),
                      {count, in},
                      weight.dtype};
    Tensor wide = part;
    if (!as_it_is) {
      wide = {gpu.state<Scratch>().take<std::byte>(count * in * width), {count, in}, x.dtype};
      gpu.add(part, wide, false);
    }
    gemm(gpu,
         {.transpose_b = true,
          .m = x.shape[0],
          .n = count,
          .k = in,
          .a = x.data,
          .b = wide.data,
          .c = to + row * width,
          .lda = in,
          .ldb = in,
          .ldc = y.shape[1],
          .type = x.dtype,
          .out_type = y.dtype,
          .bias = bias == nullptr ? nullptr : static_cast<const std::byte*>(bias) + row * width});
  }
}

}  // namespace

void int8_rows(Device& device, const Tensor& x, float threshold, Tensor& codes, Tensor& scales,
               Tensor& outliers) {
  CudaDevice& gpu = cuda(device);
  const auto rows = static_cast<unsigned>(x.shape[0]);
  const int64_t in = x.shape[1];
  gpu.zero(outliers.data, outliers.bytes());
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
  CudaDevice& gpu = cuda(device);
  const int64_t tokens = x.shape[0], in = x.shape[1], out = weight.shape[0];
  const int64_t skipped = first * static_cast<int64_t>(size_of(y.dtype));
  std::byte* const to = y.as<std::byte>() + skipped;
  const std::byte* const shift = bias.data != nullptr ? bias.as<std::byte>() + skipped : nullptr;
  if (weight.dtype != DType::i8_rows) {
    return plain_product(gpu, x, weight, shift, to, y);
  }
  const Weight w(weight);
  // Scratch: the list of columns, then the sums of some rows.
  const int64_t listed = (in + 1 + 63) / 64 * 64;
  const int64_t values = static_cast<int64_t>(Scratch::kBytes / sizeof(int32_t));
  const int64_t step = std::max<int64_t>((values - listed) / out / 128 * 128, 1);
  auto* const list = gpu.state<Scratch>().take<int32_t>(values);
  int32_t* const sums = list + listed;
  list_kernel<<<1, kThreads, 0, gpu.stream()>>>(outliers.i32(), in, list);
  for (int64_t row = 0; row < tokens; row += step) {
    const int64_t count = std::min(step, tokens - row);
    whole_product(gpu, codes.as<int8_t>() + row * in, w.codes, count, in, out, sums);
    const dim3 grid(static_cast<unsigned>((out + kTile - 1) / kTile),
                    static_cast<unsigned>((count + kTile - 1) / kTile));
    with_type(x.dtype, [&](auto type) {
      using T = decltype(type);
      finish_kernel<<<grid, kThreads, 0, gpu.stream()>>>(
          sums, x.as<T>() + row * in, scales.f32() + row, list, w,
          reinterpret_cast<const T*>(shift), count, in, out,
          reinterpret_cast<T*>(to) + row * y.shape[1], y.shape[1]);
    });
  }
  check_cuda(cudaGetLastError(), "int8_linear");
}

}  // namespace sft::gpu
