// MXFP4 on a GPU. The codes of a column stand in a row (formats/mxfp4.h), so that a tile is turned
// on its way through shared memory. Used by widen_cuda.cu.
#pragma once

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

}  // namespace sft::packed
