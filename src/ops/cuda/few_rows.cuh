// The kernel of few_rows_cuda.cu and of those beside it for packed formats (few_rows.h).
//
// Two rows of the weight (a gated product: one of gate, one of up) belong to a warp, or to 2, 4 or
// 8 where there are too few rows to keep the memory busy. x lies in shared memory, in float32 or in
// codes of 8 bits. The first of the weight is on its way before x is there, and the next while one
// is multiplied; what is under way are the weight's own bytes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "device/cuda/launch.cuh"
#include "ops/cuda/activate.cuh"
#include "ops/cuda/few_rows.h"
#include "ops/cuda/packed_formats.cuh"
#include "ops/few_rows_memory.h"

namespace sft::few_rows {

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;

// A weight that is not packed.
template <class T>
struct Plain {
  static constexpr int kTable = 0;
  const T* values;
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

// x in shared memory: a row of float32 in two halves (half_at), or its codes.
struct Staged {
  const float4* held;
  int vectors;  // of 8 values, of a row
  // Of x in codes: four of them a word, a scale for 32, and what each 8 add up to.
  const uint32_t* codes;
  const float* scales;
  const float* sums;
};

// A weight's format in this kernel: where a row of it lies (Row), how many values of a row a lane
// takes at a time (kUnit), how many such it has under way (kDepth), x as these are multiplied with
// it (Input, kCodes), and their product. `k`: the first value's place in the row.
template <class Format>
struct Loaded;

// x in float32.
struct EightFloats {
  float v[kVec];
  __device__ EightFloats(const Staged& x, int row, uint32_t k) {
    const auto vector = static_cast<int>(k / kVec);
    const float4 low = x.held[half_at(row, 0, vector, x.vectors)];
    const float4 high = x.held[half_at(row, 1, vector, x.vectors)];
    v[0] = low.x;
    v[1] = low.y;
    v[2] = low.z;
    v[3] = low.w;
    v[4] = high.x;
    v[5] = high.y;
    v[6] = high.z;
    v[7] = high.w;
  }
};

template <class T>
struct Loaded<Plain<T>> {
  using Raw = Packed<T>;
  using Input = EightFloats;
  static constexpr bool kCodes = false;
  static constexpr int kUnit = kVec;
  static constexpr int kDepth = sizeof(T) == 2 ? 4 : 2;
  struct Row {
    const T* values;
  };
  __device__ static Row row(const Plain<T>& f, int64_t row, int64_t in) {
    return {f.values + row * in};
  }
  __device__ static Raw load(const Plain<T>& /*f*/, const Row& row, uint32_t k) {
    Raw raw;
#pragma unroll
    for (int i = 0; i < Raw::kWords; ++i) {
      raw.words[i] = __ldg(reinterpret_cast<const uint4*>(row.values + k) + i);
    }
    return raw;
  }
  __device__ static float dot(const Plain<T>& /*f*/, const Raw& raw, uint32_t /*k*/, const Input& x,
                              const float* /*table*/) {
    const Vec values = unpack(raw);
    float sum = 0.0F;
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      sum += values.v[i] * x.v[i];
    }
    return sum;
  }
  static constexpr int kLine = 128 / sizeof(Raw);  // lanes
  __device__ static void near(const Row& row, uint32_t k) { bring_near(row.values + k); }
};

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

// Where the codes of rows of x lie behind their values, and what belongs to them.
__device__ inline Staged staged_parts(float* staged, int rows, int64_t in) {
  auto* const codes = reinterpret_cast<uint32_t*>(staged + rows * in);
  auto* const scales = reinterpret_cast<float*>(codes + rows * in / 4);
  return {reinterpret_cast<const float4*>(staged), static_cast<int>(in / kVec), codes, scales,
          scales + rows * in / 32};
}

// Codes of 8 bits of what is staged: of 32 values each the largest magnitude is 127, as on the CPU
// (ops/cpu/row_dots.h). Eight lanes take 32 values.
template <int kRows>
__device__ void round_staged(const Places& p, float* staged) {
  const Staged x = staged_parts(staged, kRows, p.in);
  auto* const codes = const_cast<uint32_t*>(x.codes);
  auto* const scales = const_cast<float*>(x.scales);
  auto* const sums = const_cast<float*>(x.sums);
  const auto blocks = static_cast<int>(p.in / 32);
  const int part = static_cast<int>(threadIdx.x) % 8;
  // All lanes of a warp stay together: they exchange what they have.
  for (int first = 0; first < kRows * blocks; first += kThreads / 8) {
    const int block = min(first + static_cast<int>(threadIdx.x) / 8, kRows * blocks - 1);
    const int vector = block % blocks * 4 + part / 2;
    const float4 v = x.held[half_at(block / blocks, part % 2, vector, x.vectors)];
    float most = fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
#pragma unroll
    for (int w = 4; w > 0; w /= 2) {
      most = fmaxf(most, __shfl_xor_sync(0xffffffffU, most, w));
    }
    const float inverse = most > 0.0F ? 127.0F / most : 0.0F;
    const int n[4] = {__float2int_rn(v.x * inverse), __float2int_rn(v.y * inverse),
                      __float2int_rn(v.z * inverse), __float2int_rn(v.w * inverse)};
    const int sum = n[0] + n[1] + n[2] + n[3];
    codes[block * 8 + part] =
        static_cast<uint32_t>(n[0] & 255) | static_cast<uint32_t>(n[1] & 255) << 8 |
        static_cast<uint32_t>(n[2] & 255) << 16 | static_cast<uint32_t>(n[3] & 255) << 24;
    const int both = sum + __shfl_xor_sync(0xffffffffU, sum, 1);
    if (part % 2 == 0) {
      sums[block * 4 + part / 2] = static_cast<float>(both);
    }
    if (part == 0) {
      scales[block] = most / 127.0F;
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
  constexpr int kUnit = Load::kUnit;
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
  const auto in = static_cast<uint32_t>(p.in);
  const auto start = static_cast<uint32_t>((member * 32 + lane) * kUnit);
  const auto step = static_cast<uint32_t>(p.split * 32 * kUnit);
  typename Load::Raw a[kDepth], b[kDepth], next_a[kDepth], next_b[kDepth];
  // Of a pair beyond the end the last one is read.
  struct Rows {
    typename Load::Row a, b;
  };
  const auto rows_of = [&](int64_t base) -> Rows {
    const int64_t here = min(base + warp / p.split, pairs - 1);
    return {Load::row(first, kGated ? here : 2 * here, p.in),
            Load::row(second, kGated ? p.up_at + here : min(2 * here + 1, p.rows - 1), p.in)};
  };
  const auto load = [&](int64_t base, uint32_t column, typename Load::Raw(&to_a)[kDepth],
                        typename Load::Raw(&to_b)[kDepth]) {
    const Rows rows = rows_of(base);
#pragma unroll
    for (int j = 0; j < kDepth; ++j) {
      const uint32_t k = column + start + j * step;
      if (k < in) {
        to_a[j] = Load::load(first, rows.a, k);
        to_b[j] = Load::load(second, rows.b, k);
      }
    }
  };
  const int64_t group = int64_t{blockIdx.x} * groups;
  load(group, 0, a, b);
  if constexpr (requires { Load::kLine; }) {
    // What comes next is brought near while the kernel before this one ends: not much, or it would
    // be gone again before it is read.
    constexpr int kTiles = 2;
    int64_t base = group;
    uint32_t column = 0;
    for (int tile = 0; tile < kTiles; ++tile) {
      column += kDepth * step;
      if (column >= in) {
        column = 0;
        base += stride;
      }
      if (base + warp / p.split >= pairs) {
        break;
      }
      const Rows rows = rows_of(base);
#pragma unroll
      for (int j = 0; j < kDepth; ++j) {
        const uint32_t k = column + start + j * step;
        if (k < in && lane % Load::kLine == 0) {
          Load::near(rows.a, k);
          Load::near(rows.b, k);
        }
      }
    }
  }
  if (p.normed) {
    stage_norm(p, norm, staged);
  }
  wait_for_previous();
  stage<kRows>(p, x, staged);
  if constexpr (Load::kCodes) {
    round_staged<kRows>(p, staged);
  }
  const Staged held = staged_parts(staged, kRows, p.in);
  for (int64_t base = group; base < pairs; base += stride) {
    float sums[2][kRows] = {};
    for (uint32_t column = 0; column < in; column += kDepth * step) {
      const bool last = column + kDepth * step >= in;
      if (!last || base + stride < pairs) {
        load(last ? base + stride : base, last ? 0 : column + kDepth * step, next_a, next_b);
      }
#pragma unroll
      for (int j = 0; j < kDepth; ++j) {
        const uint32_t k = column + start + j * step;
        if (k < in) {
#pragma unroll
          for (int r = 0; r < kRows; ++r) {
            const typename Load::Input x(held, r, k);
            sums[0][r] += Load::dot(first, a[j], k, x, table);
            sums[1][r] += Load::dot(second, b[j], k, x, table);
          }
        }
        a[j] = next_a[j];
        b[j] = next_b[j];
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
  const size_t shared = FewRowsMemory::bytes(kRows * p.in, Loaded<Format>::kCodes);
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
    constexpr int kMost = FewRowsMemory::kMost;
    o.gated ? launch<Format, kMost, true>(gpu, first, second, o)
            : launch<Format, kMost, false>(gpu, first, second, o);
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
