// Packed formats on a GPU: each gives 8 values in a row as float32, the bits that formats/ gives on
// the CPU. Used by widen_cuda.cu. Sums and products are rounded one by one, so none is contracted.
#pragma once

#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <cstdint>

#include "core/dtype.h"
#include "device/cuda/vec.cuh"

namespace sft::packed {

// 8 bytes from an address that is a multiple of kAlign.
struct Bytes8 {
  uint32_t words[2];
  __device__ int operator[](int i) const {
    return static_cast<int>(words[i / 4] >> (i % 4 * 8) & 255U);
  }
};
template <int kAlign>
__device__ inline Bytes8 load_bytes(const uint8_t* p) {
  if constexpr (kAlign == 8) {
    const uint2 x = __ldg(reinterpret_cast<const uint2*>(p));
    return {{x.x, x.y}};
  } else if constexpr (kAlign == 4) {
    const auto* const q = reinterpret_cast<const uint32_t*>(p);
    return {{__ldg(q), __ldg(q + 1)}};
  } else {
    const auto* const q = reinterpret_cast<const uint16_t*>(p);
    return {{__ldg(q) | uint32_t{__ldg(q + 1)} << 16, __ldg(q + 2) | uint32_t{__ldg(q + 3)} << 16}};
  }
}
__device__ inline float load_half(const uint8_t* p) {
  return __half2float(__ushort_as_half(__ldg(reinterpret_cast<const uint16_t*>(p))));
}

// bitsandbytes' 4 bits. `table` is in shared memory: the numbers of the 16 codes, and behind them
// those of nested scales.
template <bool kNested>
struct FourBit {
  static constexpr int kTable = kNested ? 16 + 256 : 16;
  const uint8_t* packed;
  const float* scales;         // of blocks of 64; or, where they are nested,
  const uint8_t* scale_codes;  // codes of them,
  const float* outer;          // a scale for 256 of these,
  const float* mean;           // what is added,
  const float* book;           // and the numbers of the 256 codes
  float codes[16];

  __device__ float entry(int i) const { return i < 16 ? codes[i] : __ldg(book + i - 16); }
  __device__ float scale(int64_t block, const float* numbers) const {
    if constexpr (kNested) {
      const float inner = numbers[__ldg(scale_codes + block)];
      return __fadd_rn(__fmul_rn(inner, __ldg(outer + block / 256)), __ldg(mean));
    } else {
      return __ldg(scales + block);
    }
  }
  __device__ Vec eight(int64_t at, const float* table) const {
    const uint32_t raw = __ldg(reinterpret_cast<const uint32_t*>(packed) + at / 8);
    const float s = scale(at / 64, table + 16);
    Vec out;
#pragma unroll
    for (int i = 0; i < kVec; ++i) {  // the first of a byte is its high half
      out.v[i] = __fmul_rn(table[raw >> (i / 2 * 8 + (i % 2 == 0 ? 4 : 0)) & 15U], s);
    }
    return out;
  }
};

__device__ inline float from_float8(int code) {
  return __half2float(
      __half(__nv_cvt_fp8_to_halfraw(static_cast<__nv_fp8_storage_t>(code), __NV_E4M3)));
}

// 8 bits with a scale a row, times `factor`; or (kTiles) a scale for each 128 x 128 of the matrix.
// kEven: 8 values in a row of memory are of one row of the matrix.
template <bool kInt8, bool kTiles, bool kEven>
struct EightBit {
  static constexpr int kTable = 0;
  const uint8_t* packed;
  const float* scales;
  int64_t rows;
  int64_t length;  // of a row
  float factor;    // of int8's scales

  __device__ float scale(int64_t row, int64_t column) const {
    if constexpr (kTiles) {
      constexpr int64_t kTile = 128;
      return __ldg(scales + row / kTile * ((length + kTile - 1) / kTile) + column / kTile);
    } else if constexpr (kInt8) {
      return __fmul_rn(__ldg(scales + row), factor);
    } else {
      return __ldg(scales + row);
    }
  }
  __device__ static float number(int code) {
    return kInt8 ? static_cast<float>(static_cast<int8_t>(code)) : from_float8(code);
  }
  __device__ Vec eight(int64_t at, const float* /*table*/) const {
    const Bytes8 codes = load_bytes<8>(packed + at);
    Vec out;
    if constexpr (kEven) {
      const auto row = static_cast<uint32_t>(at / kVec) / static_cast<uint32_t>(length / kVec);
      const float s = scale(row, at - int64_t{row} * length);
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        out.v[i] = __fmul_rn(number(codes[i]), s);
      }
    } else {
      int64_t row = at / length;
      int64_t column = at % length;
#pragma unroll
      for (int i = 0; i < kVec; ++i, ++column) {
        if (column == length) {
          column = 0;
          ++row;
        }
        // Beyond the end there may be no row.
        out.v[i] = row < rows ? __fmul_rn(number(codes[i]), scale(row, column)) : 0.0F;
      }
    }
    return out;
  }
};

// ggml's Q8_0.
struct Q8 {
  static constexpr int kTable = 0;
  const uint8_t* packed;

  __device__ Vec eight(int64_t at, const float* /*table*/) const {
    const uint8_t* const p = packed + at / 32 * 34;
    const float d = load_half(p);
    const Bytes8 q = load_bytes<2>(p + 2 + at % 32);
    Vec out;
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      out.v[i] = __fmul_rn(d, static_cast<float>(static_cast<int8_t>(q[i])));
    }
    return out;
  }
};

// Q4_0 and Q4_1 (with a minimum), Q5_0 and Q5_1 (with a fifth bit): of a block of 32 the first half
// lies in low halves of bytes, the second in high ones.
template <bool kMinimum, bool kFifth>
struct Q4 {
  static constexpr int kTable = 0;
  static constexpr int kHeader = 2 + (kMinimum ? 2 : 0) + (kFifth ? 4 : 0);
  static constexpr int kBytes = kHeader + 16;
  static constexpr int kAlign = kBytes % 8 == 0 ? 8 : kBytes % 4 == 0 ? 4 : 2;
  const uint8_t* packed;

  __device__ Vec eight(int64_t at, const float* /*table*/) const {
    const uint8_t* const p = packed + at / 32 * kBytes;
    const auto place = static_cast<int>(at % 32);
    const float d = load_half(p);
    const float minimum = kMinimum ? load_half(p + 2) : 0.0F;
    uint32_t fifth = 0;
    if constexpr (kFifth) {
      const auto* const bits = reinterpret_cast<const uint16_t*>(p + kHeader - 4);
      fifth = (__ldg(bits) | uint32_t{__ldg(bits + 1)} << 16) >> place;
    }
    const Bytes8 q = load_bytes<kAlign>(p + kHeader + place % 16);
    Vec out;
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      int n = place < 16 ? q[i] & 15 : q[i] >> 4;
      n |= kFifth ? static_cast<int>(fifth >> i & 1U) << 4 : 0;
      if constexpr (kMinimum) {
        out.v[i] = __fadd_rn(__fmul_rn(d, static_cast<float>(n)), minimum);
      } else {
        out.v[i] = __fmul_rn(d, static_cast<float>(n - (kFifth ? 16 : 8)));
      }
    }
    return out;
  }
};

// Q4_K and Q5_K: 256 values in eight groups of 32, each with a scale and a minimum of 6 bits.
template <bool kFifth>
struct K4 {
  static constexpr int kTable = 0;
  static constexpr int kBytes = kFifth ? 176 : 144;
  const uint8_t* packed;

  __device__ Vec eight(int64_t at, const float* /*table*/) const {
    const uint8_t* const p = packed + at / 256 * kBytes;
    const auto group = static_cast<int>(at % 256) / 32;
    const auto place = static_cast<int>(at % 32);
    const uint8_t* const s = p + 4;
    int scale = 0;
    int minimum = 0;
    if (group < 4) {
      scale = __ldg(s + group) & 63;
      minimum = __ldg(s + group + 4) & 63;
    } else {
      const int both = __ldg(s + group + 4);
      scale = (both & 15) | __ldg(s + group - 4) >> 6 << 4;
      minimum = both >> 4 | __ldg(s + group) >> 6 << 4;
    }
    const float d = __fmul_rn(load_half(p), static_cast<float>(scale));
    const float m = __fmul_rn(load_half(p + 2), static_cast<float>(minimum));
    const Bytes8 q = load_bytes<8>(p + (kFifth ? 48 : 16) + group / 2 * 32 + place);
    Bytes8 high{};
    if constexpr (kFifth) {
      high = load_bytes<8>(p + 16 + place);
    }
    Vec out;
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      int n = group % 2 == 0 ? q[i] & 15 : q[i] >> 4;
      n |= kFifth ? (high[i] >> group & 1) << 4 : 0;
      out.v[i] = __fsub_rn(__fmul_rn(d, static_cast<float>(n)), m);
    }
    return out;
  }
};

struct Q6K {
  static constexpr int kTable = 0;
  const uint8_t* packed;

  __device__ Vec eight(int64_t at, const float* /*table*/) const {
    const uint8_t* const p = packed + at / 256 * 210;
    const auto half = static_cast<int>(at % 256) / 128;
    const auto quarter = static_cast<int>(at % 128) / 32;
    const auto place = static_cast<int>(at % 32);
    const auto scale = static_cast<int8_t>(__ldg(p + 192 + half * 8 + quarter * 2 + place / 16));
    const float d = __fmul_rn(load_half(p + 208), static_cast<float>(scale));
    const Bytes8 low = load_bytes<2>(p + half * 64 + quarter % 2 * 32 + place);
    const Bytes8 high = load_bytes<2>(p + 128 + half * 32 + place);
    Vec out;
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      const int four = quarter < 2 ? low[i] & 15 : low[i] >> 4;
      const int n = (four | (high[i] >> (2 * quarter) & 3) << 4) - 32;
      out.v[i] = __fmul_rn(d, static_cast<float>(n));
    }
    return out;
  }
};

}  // namespace sft::packed
