// MXFP4 on a GPU. The codes of a column stand in a row (formats/mxfp4.h), so that a tile is turned
// on its way through shared memory. Used by widen_cuda.cu.
#pragma once

#include <cuda_bf16.h>

#include "device/cuda/vec.cuh"
#include "formats/mxfp4.h"

namespace sft::packed {

struct Mxfp4Tile {
  static constexpr int kRows = 64;  // of in: two blocks of a column
  static constexpr int kColumns = 64;
  static constexpr int kThreads = kColumns * kRows / static_cast<int>(kMxfp4Block);
};

// Twice a code's number: the magnitudes are 0, 1, 2, 3, 4, 6, 8, 12.
__device__ inline float mxfp4_double(uint32_t code) {
  const uint32_t m = code & 7U;
  const uint32_t number = m < 4 ? m : (2U + (m & 1U)) << (m / 2U - 1U);
  const auto value = static_cast<float>(number);
  return __uint_as_float(__float_as_uint(value) | (code & 8U) << 28);
}

// A block has a tile of one matrix (in, out): a thread turns 32 codes of a column into values.
template <class T>
__global__ void __launch_bounds__(Mxfp4Tile::kThreads)
    mxfp4_kernel(const uint8_t* codes, const uint8_t* exponents, int64_t in, int64_t out, T* y) {
  __shared__ float tile[Mxfp4Tile::kRows][Mxfp4Tile::kColumns + 1];
  constexpr auto kBlock = static_cast<int>(kMxfp4Block);
  const int64_t first_row = int64_t{blockIdx.y} * Mxfp4Tile::kRows;
  const int64_t first_column = int64_t{blockIdx.x} * Mxfp4Tile::kColumns;
  const int64_t matrix = blockIdx.z;
  const int own = static_cast<int>(threadIdx.x) % Mxfp4Tile::kColumns;
  const int half = static_cast<int>(threadIdx.x) / Mxfp4Tile::kColumns * kBlock;
  const int64_t column = first_column + own;
  if (column < out && first_row + half < in) {
    const int64_t at = (matrix * out + column) * in + first_row + half;
    const uint4 raw = __ldg(reinterpret_cast<const uint4*>(codes + at / 2));
    const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
    const float power = mxfp4_half_power(__ldg(exponents + at / kBlock));
#pragma unroll
    for (int i = 0; i < kBlock; ++i) {
      tile[half + i][own] = __fmul_rn(mxfp4_double(words[i / 8] >> (i % 8 * 4) & 15U), power);
    }
  }
  __syncthreads();
  constexpr int kAcross = Mxfp4Tile::kColumns / kVec;
  const int64_t c = first_column + static_cast<int64_t>(threadIdx.x) % kAcross * kVec;
  const bool aligned = out % kVec == 0 && reinterpret_cast<uintptr_t>(y) % 16 == 0;
  for (int r = static_cast<int>(threadIdx.x) / kAcross; r < Mxfp4Tile::kRows;
       r += Mxfp4Tile::kThreads / kAcross) {
    if (first_row + r >= in || c >= out) {
      return;
    }
    Vec values;
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      values.v[i] = tile[r][c - first_column + i];
    }
    T* const to = y + (matrix * in + first_row + r) * out + c;
    if (aligned) {
      store_vec(to, values);
    } else {
      store_some(to, values, out - c);
    }
  }
}

// bfloat16 without a detour: doubles and powers are bfloat16 numbers, and their product is exact.
struct Mxfp4Bf16Tile {
  static constexpr int kRows = 128;  // of in: 64 bytes of each column's codes
  static constexpr int kColumns = 64;
  static constexpr int kThreads = kColumns / 2 * kRows / static_cast<int>(kMxfp4Block);
};

// Twice the numbers of four codes, bytes picked from those of the eight magnitudes.
__device__ inline uint2 mxfp4_doubles(uint32_t codes) {
  const uint32_t which = codes & 0x7777U;
  const uint32_t low = __byte_perm(0x40008000U, 0x4000C080U, which);
  const uint32_t high = __byte_perm(0x40403F00U, 0x41414040U, which);
  const auto sign = [](uint32_t first, uint32_t second) {
    return (first & 0x8000U) | (second & 0x80000000U);
  };
  return {__byte_perm(low, high, 0x5140) | sign(codes << 12, codes << 24),
          __byte_perm(low, high, 0x7362) | sign(codes << 4, codes << 16)};
}

// A thread turns 32 codes of two neighbouring columns into values.
__global__ void __launch_bounds__(Mxfp4Bf16Tile::kThreads)
    mxfp4_bf16_kernel(const uint8_t* codes, const uint8_t* exponents, int64_t in, int64_t out,
                      __nv_bfloat16* y) {
  using Tile = Mxfp4Bf16Tile;
  __shared__ __align__(16) uint32_t tile[Tile::kRows][Tile::kColumns / 2];  // pairs of columns
  constexpr auto kBlock = static_cast<int>(kMxfp4Block);
  constexpr int kPairs = Tile::kColumns / 2;
  const int64_t first_row = int64_t{blockIdx.y} * Tile::kRows;
  const int64_t first_column = int64_t{blockIdx.x} * Tile::kColumns;
  const int64_t matrix = blockIdx.z;
  const int pair = static_cast<int>(threadIdx.x) % kPairs;
  const int from = static_cast<int>(threadIdx.x) / kPairs * kBlock;
  if (first_row + from < in) {
    uint4 raw[2] = {};
    uint32_t power[2] = {};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int64_t column = first_column + 2 * pair + i;
      if (column < out) {
        const int64_t at = (matrix * out + column) * in + first_row + from;
        raw[i] = __ldg(reinterpret_cast<const uint4*>(codes + at / 2));
        const float half = mxfp4_half_power(__ldg(exponents + at / kBlock));
        power[i] = __float_as_uint(half) >> 16 | (__float_as_uint(half) & 0xFFFF0000U);
      }
    }
    const uint32_t words[2][4] = {{raw[0].x, raw[0].y, raw[0].z, raw[0].w},
                                  {raw[1].x, raw[1].y, raw[1].z, raw[1].w}};
    const auto times = [](uint32_t a, uint32_t b) {
      const __nv_bfloat162 product = __hmul2(reinterpret_cast<const __nv_bfloat162&>(a),
                                             reinterpret_cast<const __nv_bfloat162&>(b));
      return reinterpret_cast<const uint32_t&>(product);
    };
#pragma unroll
    for (int i = 0; i < kBlock; i += 4) {
      const uint2 left = mxfp4_doubles(words[0][i / 8] >> (i % 8 * 4));
      const uint2 right = mxfp4_doubles(words[1][i / 8] >> (i % 8 * 4));
      const uint32_t a[2] = {times(left.x, power[0]), times(left.y, power[0])};
      const uint32_t b[2] = {times(right.x, power[1]), times(right.y, power[1])};
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        tile[from + i + 2 * k][pair] = __byte_perm(a[k], b[k], 0x5410);
        tile[from + i + 2 * k + 1][pair] = __byte_perm(a[k], b[k], 0x7632);
      }
    }
  }
  __syncthreads();
  constexpr int kAcross = Tile::kColumns / kVec;
  const int64_t c = first_column + static_cast<int64_t>(threadIdx.x) % kAcross * kVec;
  const bool aligned = out % kVec == 0 && reinterpret_cast<uintptr_t>(y) % 16 == 0;
#pragma unroll
  for (int r = static_cast<int>(threadIdx.x) / kAcross; r < Tile::kRows;
       r += Tile::kThreads / kAcross) {
    if (first_row + r >= in || c >= out) {
      return;
    }
    const uint4 values = *reinterpret_cast<const uint4*>(&tile[r][(c - first_column) / 2]);
    __nv_bfloat16* const to = y + (matrix * in + first_row + r) * out + c;
    if (aligned) {
      *reinterpret_cast<uint4*>(to) = values;
    } else {
      for (int i = 0; i < kVec && c + i < out; ++i) {
        to[i] = reinterpret_cast<const __nv_bfloat16*>(&values)[i];
      }
    }
  }
}

}  // namespace sft::packed
