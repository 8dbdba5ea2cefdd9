// The kernel of few_rows_cuda.cu and of those beside it for packed formats (few_rows.h).
//
// Two rows of the weight (a gated product: one of gate, one of up) belong to a warp, or to 2, 4 or
// 8 where there are too few rows to keep the memory busy. x lies in shared memory in float32. The
// first of the weight is on its way before x is there, and the next while one is multiplied.
#pragma once

#include <algorithm>
#include <cstdint>

#include "device/cuda/launch.cuh"
#include "ops/cuda/activate.cuh"
#include "ops/cuda/few_rows.h"
#include "ops/cuda/packed_formats.cuh"

namespace sft::few_rows {

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;

// A weight that is not packed.
template <class T>
struct Plain {
  static constexpr int kTable = 0;
  const T* values;
};

// 8 values of a row as they are loaded, and what they stand for.
template <class Format>
struct Loaded {
  using Raw = Vec;
  static constexpr int kDepth = 4;       // so many vectors of each row a lane has under way
  static constexpr bool kAhead = false;  // the next are on their way while these are multiplied
  __device__ static Raw load(const Format& f, int64_t at, const float* table) {
    return f.eight(at, table);
  }
  __device__ static Vec values(const Raw& raw) { return raw; }
};
template <class T>
struct Loaded<Plain<T>> {
  using Raw = Packed<T>;
  static constexpr int kDepth = sizeof(T) == 2 ? 4 : 2;
  static constexpr bool kAhead = true;
  __device__ static Raw load(const Plain<T>& f, int64_t at, const float* /*table*/) {
    Raw raw;
#pragma unroll
    for (int i = 0; i < Raw::kWords; ++i) {
      raw.words[i] = __ldg(reinterpret_cast<const uint4*>(f.values + at) + i);
    }
    return raw;
  }
  __device__ static Vec values(const Raw& raw) { return unpack(raw); }
};

__device__ inline Vec load_as(DType type, const void* x, int64_t at) {
  if (type == DType::bf16) {
    return load_vec(static_cast<const __nv_bfloat16*>(x) + at);
  }
  return type == DType::f16 ? load_vec(static_cast<const __half*>(x) + at)
                            : load_vec(static_cast<const float*>(x) + at);
}
__device__ inline float value_as(DType type, const void* x, int64_t at) {
  if (type == DType::bf16) {
    return sft::widen(static_cast<const __nv_bfloat16*>(x)[at]);
  }
  return type == DType::f16 ? sft::widen(static_cast<const __half*>(x)[at])
                            : static_cast<const float*>(x)[at];
}
__device__ inline void store_as(DType type, void* y, int64_t at, float value) {
  if (type == DType::bf16) {
    static_cast<__nv_bfloat16*>(y)[at] = narrow<__nv_bfloat16>(value);
  } else if (type == DType::f16) {
    static_cast<__half*>(y)[at] = narrow<__half>(value);
  } else {
    static_cast<float*>(y)[at] = value;
  }
}

// Where the two halves of a vector of a row lie in shared memory, in float4: the first four values
// of all vectors, then the others, so that neighbouring lanes read neighbouring words.
__device__ inline int half_at(int row, int half, int vector, int vectors) {
  return (2 * row + half) * vectors + vector;
}

// The norm's weights, before x is there.
__device__ inline void stage_norm(const Places& p, const float* norm, float* staged) {
  const int vectors = static_cast<int>(p.in / kVec);
  float4* const out = reinterpret_cast<float4*>(staged);
  for (int i = static_cast<int>(threadIdx.x); i < vectors; i += kThreads) {
    const Vec w = load_vec(norm + int64_t{i} * kVec);
    out[half_at(0, 0, i, vectors)] = {p.offset + w.v[0], p.offset + w.v[1], p.offset + w.v[2],
                                      p.offset + w.v[3]};
    out[half_at(0, 1, i, vectors)] = {p.offset + w.v[4], p.offset + w.v[5], p.offset + w.v[6],
                                      p.offset + w.v[7]};
  }
}

// x into shared memory, times the norm's weights that are there already and each row's factor. A
// thread meets the same columns as in stage_norm.
template <int kRows>
__device__ void stage(const Places& p, const void* x, float* staged) {
  __shared__ float squares[kRows][kWarps];
  const int thread = static_cast<int>(threadIdx.x);
  const int vectors = static_cast<int>(p.in / kVec);
  float scales[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    scales[r] = 1.0F;
  }
  if (p.normed) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float sum = 0.0F;
      for (int i = thread; r < p.x_rows && i < vectors; i += kThreads) {
        const Vec v = load_as(p.type, x, r * p.in + int64_t{i} * kVec);
#pragma unroll
        for (int j = 0; j < kVec; ++j) {
          sum += v.v[j] * v.v[j];
        }
      }
      sum = warp_sum(sum);
      if (thread % 32 == 0) {
        squares[r][thread / 32] = sum;
      }
    }
    __syncthreads();
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float sum = 0.0F;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) {
        sum += squares[r][w];
      }
      scales[r] = rsqrtf(sum / static_cast<float>(p.in) + p.eps);
    }
  }
  float4* const out = reinterpret_cast<float4*>(staged);
  for (int i = thread; i < vectors; i += kThreads) {
    float4 low{1.0F, 1.0F, 1.0F, 1.0F};
    float4 high = low;
    if (p.normed) {
      low = out[half_at(0, 0, i, vectors)];
      high = out[half_at(0, 1, i, vectors)];
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      Vec v{};
      if (r < p.x_rows) {
        v = load_as(p.type, x, r * p.in + int64_t{i} * kVec);
      }
      const float f = scales[r];
      out[half_at(r, 0, i, vectors)] = {f * v.v[0] * low.x, f * v.v[1] * low.y, f * v.v[2] * low.z,
                                        f * v.v[3] * low.w};
      out[half_at(r, 1, i, vectors)] = {f * v.v[4] * high.x, f * v.v[5] * high.y,
                                        f * v.v[6] * high.z, f * v.v[7] * high.w};
    }
  }
  __syncthreads();
}

// What becomes of the sums of a warp's two rows.
template <int kRows, bool kGated>
__device__ void finish(const Places& p, int64_t pair, const float (&sums)[2][kRows],
                       const void* bias, void* y) {
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (r >= p.x_rows) {
      return;
    }
    const int64_t at = r * p.ld + p.first;
    if constexpr (kGated) {
      float gate = sums[0][r];
      float up = sums[1][r];
      if (bias != nullptr) {
        gate += value_as(p.type, bias, p.first + pair);
        up += value_as(p.type, bias, p.first + p.ld + pair);
      }
      const float active =
          p.gelu ? activate<Activation::gelu_tanh>(gate).x : activate<Activation::silu>(gate).x;
      store_as(p.type, y, at + pair, active * up);
    } else {
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        const int64_t row = 2 * pair + k;
        if (row < p.rows) {
          float value = p.alpha * sums[k][r];
          value += bias != nullptr ? value_as(p.type, bias, p.first + row) : 0.0F;
          value += p.accumulate ? value_as(p.type, y, at + row) : 0.0F;
          store_as(p.type, y, at + row, value);
        }
      }
    }
  }
}

template <class Format, int kRows, bool kGated>
__global__ void __launch_bounds__(kThreads, 2)
    few_rows_kernel(const Format first, const Format second, const Places p, const void* x,
                    const float* norm, const void* bias, void* y) {
  using Load = Loaded<Format>;
  constexpr int kDepth = Load::kDepth;
  extern __shared__ float staged[];
  __shared__ float table[std::max(Format::kTable, 1)];
  __shared__ float parts[kWarps][2][kRows];
  let_next_begin();
  if constexpr (Format::kTable > 0) {
    for (int i = static_cast<int>(threadIdx.x); i < Format::kTable; i += kThreads) {
      table[i] = first.entry(i);
    }
    __syncthreads();
  }
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int member = warp % p.split;
  const int groups = kWarps / p.split;
  const int64_t pairs = kGated ? p.rows : (p.rows + 1) / 2;
  const int64_t stride = int64_t{gridDim.x} * groups;
  const int64_t start = (member * 32 + lane) * kVec;
  const int64_t step = int64_t{p.split} * 32 * kVec;
  typename Load::Raw a[kDepth], b[kDepth];
  typename Load::Raw next_a[Load::kAhead ? kDepth : 1], next_b[Load::kAhead ? kDepth : 1];
  // Of a pair beyond the end the last one is read.
  const auto load = [&](int64_t base, int64_t column, typename Load::Raw(&to_a)[kDepth],
                        typename Load::Raw(&to_b)[kDepth]) {
    const int64_t here = min(base + warp / p.split, pairs - 1);
    const int64_t row_a = kGated ? here : 2 * here;
    const int64_t row_b = kGated ? p.up_at + here : min(2 * here + 1, p.rows - 1);
#pragma unroll
    for (int j = 0; j < kDepth; ++j) {
      const int64_t k = column + start + j * step;
      if (k < p.in) {
        to_a[j] = Load::load(first, row_a * p.in + k, table);
        to_b[j] = Load::load(second, row_b * p.in + k, table);
      }
    }
  };
  const int64_t group = int64_t{blockIdx.x} * groups;
  load(group, 0, a, b);
  if (p.normed) {
    stage_norm(p, norm, staged);
  }
  wait_for_previous();
  stage<kRows>(p, x, staged);
  const int vectors = static_cast<int>(p.in / kVec);
  const float4* const held = reinterpret_cast<const float4*>(staged);
  for (int64_t base = group; base < pairs; base += stride) {
    float sums[2][kRows] = {};
    for (int64_t column = 0; column < p.in; column += kDepth * step) {
      if constexpr (Load::kAhead) {
        const bool last = column + kDepth * step >= p.in;
        if (!last || base + stride < pairs) {
          load(last ? base + stride : base, last ? 0 : column + kDepth * step, next_a, next_b);
        }
      } else if (base > group || column > 0) {
        load(base, column, a, b);
      }
#pragma unroll
      for (int j = 0; j < kDepth; ++j) {
        const int64_t k = column + start + j * step;
        if (k < p.in) {
          const Vec va = Load::values(a[j]);
          const Vec vb = Load::values(b[j]);
          const int at = static_cast<int>(k / kVec);
#pragma unroll
          for (int r = 0; r < kRows; ++r) {
            const float4 low = held[half_at(r, 0, at, vectors)];
            const float4 high = held[half_at(r, 1, at, vectors)];
            const float xs[kVec] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
            for (int i = 0; i < kVec; ++i) {
              sums[0][r] += va.v[i] * xs[i];
              sums[1][r] += vb.v[i] * xs[i];
            }
          }
        }
        if constexpr (Load::kAhead) {
          a[j] = next_a[j];
          b[j] = next_b[j];
        }
      }
    }
#pragma unroll
    for (int k = 0; k < 2; ++k) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        sums[k][r] = warp_sum(sums[k][r]);
      }
    }
    if (p.split > 1) {
      if (lane == 0) {
#pragma unroll
        for (int k = 0; k < 2; ++k) {
#pragma unroll
          for (int r = 0; r < kRows; ++r) {
            parts[warp][k][r] = sums[k][r];
          }
        }
      }
      __syncthreads();
      if (lane == 0 && member == 0) {
        for (int other = 1; other < p.split; ++other) {
#pragma unroll
          for (int k = 0; k < 2; ++k) {
#pragma unroll
            for (int r = 0; r < kRows; ++r) {
              sums[k][r] += parts[warp + other][k][r];
            }
          }
        }
      }
      __syncthreads();
    }
    const int64_t pair = base + warp / p.split;
    if (lane == 0 && member == 0 && pair < pairs) {
      finish<kRows, kGated>(p, pair, sums, bias, y);
    }
  }
}

template <class Format, int kRows, bool kGated>
void launch(CudaDevice& gpu, const Format& first, const Format& second, const Operands& o) {
  Places p = o.places;
  const int64_t pairs = kGated ? p.rows : (p.rows + 1) / 2;
  const int64_t wanted = gpu.multiprocessors() * int64_t{16};  // warps that keep the memory busy
  p.split = 1;
  while (p.split < kWarps && pairs * p.split < wanted && p.in >= p.split * 4 * 32 * kVec) {
    p.split *= 2;
  }
  const size_t shared = static_cast<size_t>(kRows * p.in) * sizeof(float);
  const auto kernel = few_rows_kernel<Format, kRows, kGated>;
  if (shared > (40U << 10U)) {
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shared)),
               "few_rows");
  }
  // As many blocks as there is room for at one time, each with as many pairs.
  int together = 1;
  check_cuda(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&together, kernel, kThreads, shared),
             "few_rows");
  const int64_t blocks = (pairs * p.split + kWarps - 1) / kWarps;
  const int64_t at_once = gpu.multiprocessors() * std::max<int64_t>(1, together);
  const int64_t rounds = (blocks + at_once - 1) / at_once;
  const auto grid = static_cast<unsigned>((blocks + rounds - 1) / rounds);
  launch_in_chain(gpu, kernel, dim3(grid), kThreads, shared, first, second, p, o.x, o.norm, o.bias,
                  o.y);
}

// Two parts of one format, the same where the product is not gated.
template <class Format>
void launch_format(CudaDevice& gpu, const Format& first, const Format& second, const Operands& o) {
  if (o.places.x_rows == 1) {
    o.gated ? launch<Format, 1, true>(gpu, first, second, o)
            : launch<Format, 1, false>(gpu, first, second, o);
  } else {
    o.gated ? launch<Format, 4, true>(gpu, first, second, o)
            : launch<Format, 4, false>(gpu, first, second, o);
  }
}

// Whether the first part is in one of the formats that `with` calls a function with.
template <class With>
bool launch_with(CudaDevice& gpu, const Tensor& first, const Tensor& second, const Operands& o,
                 const With& with) {
  return with(gpu, first, [&](const auto& a) {
    with(gpu, second, [&](const auto& b) {
      if constexpr (std::is_same_v<decltype(a), decltype(b)>) {
        launch_format(gpu, a, b, o);
      }
    });
  });
}

}  // namespace sft::few_rows
