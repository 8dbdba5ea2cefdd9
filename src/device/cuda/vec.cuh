// Reading and writing runs of values of any floating type as float, 16 bytes at a time where the
// address allows it. Used by all CUDA kernels.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "core/dtype.h"
#include "core/error.h"

namespace sft {

__device__ inline float widen(float x) { return x; }
__device__ inline float widen(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float widen(__half x) { return __half2float(x); }

template <class T>
__device__ inline T narrow(float x);
template <>
__device__ inline float narrow<float>(float x) {
  return x;
}
template <>
__device__ inline __nv_bfloat16 narrow<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ inline __half narrow<__half>(float x) {
  return __float2half_rn(x);
}

// Values that one thread handles at a time.
constexpr int kVec = 8;

struct Vec {
  float v[kVec];
};

// `x` on 16 bytes.
template <class T>
__device__ inline Vec load_vec(const T* x) {
  Vec out;
  if constexpr (sizeof(T) == 4) {
    const float4 a = reinterpret_cast<const float4*>(x)[0];
    const float4 b = reinterpret_cast<const float4*>(x)[1];
    out.v[0] = a.x, out.v[1] = a.y, out.v[2] = a.z, out.v[3] = a.w;
    out.v[4] = b.x, out.v[5] = b.y, out.v[6] = b.z, out.v[7] = b.w;
  } else {
    const uint4 raw = *reinterpret_cast<const uint4*>(x);
    const T* values = reinterpret_cast<const T*>(&raw);
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      out.v[i] = widen(values[i]);
    }
  }
  return out;
}

template <class T>
__device__ inline void store_vec(T* y, const Vec& x) {
  if constexpr (sizeof(T) == 4) {
    reinterpret_cast<float4*>(y)[0] = {x.v[0], x.v[1], x.v[2], x.v[3]};
    reinterpret_cast<float4*>(y)[1] = {x.v[4], x.v[5], x.v[6], x.v[7]};
  } else {
    uint4 raw;
    T* values = reinterpret_cast<T*>(&raw);
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      values[i] = narrow<T>(x.v[i]);
    }
    *reinterpret_cast<uint4*>(y) = raw;
  }
}

// kVec values as they lie in memory: few registers.
template <class T>
struct Packed {
  static constexpr int kWords = kVec * sizeof(T) / 16;
  uint4 words[kWords];
};

template <class T>
__device__ inline Vec unpack(const Packed<T>& x) {
  return load_vec(reinterpret_cast<const T*>(x.words));
}

template <class T>
__device__ inline Packed<T> pack(const Vec& x) {
  Packed<T> out;
  store_vec(reinterpret_cast<T*>(out.words), x);
  return out;
}

// The same for the end of a row that is no multiple of kVec: values at and beyond `left` are 0 and
// are not written. Rows of such a width are not aligned either.
template <class T>
__device__ inline Vec load_some(const T* x, int64_t left) {
  Vec out;
#pragma unroll
  for (int i = 0; i < kVec; ++i) {
    out.v[i] = i < left ? widen(x[i]) : 0.0F;
  }
  return out;
}

template <class T>
__device__ inline void store_some(T* y, const Vec& x, int64_t left) {
#pragma unroll
  for (int i = 0; i < kVec; ++i) {
    if (i < left) {
      y[i] = narrow<T>(x.v[i]);
    }
  }
}

__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) {
    x += __shfl_xor_sync(0xffffffffU, x, lane);
  }
  return x;
}

// A sum of any number of terms, whose error does not grow with their number: what a rounding has
// lost goes in with the next term (Kahan, "Further remarks on reducing truncation errors", 1965).
struct LongSum {
  float value = 0.0F;
  float excess = 0.0F;  // by which `value` is too large

  __device__ void add(float x) {
    const float corrected = x - excess;
    const float next = value + corrected;
    excess = (next - value) - corrected;
    value = next;
  }
  __device__ void scale(float factor) {
    value *= factor;
    excess *= factor;
  }
  __device__ float total() const { return value - excess; }
};

struct LongSums {
  LongSum v[kVec];

  __device__ Vec total() const {
    Vec out;
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      out.v[i] = v[i].total();
    }
    return out;
  }
};

// Calls f with a value of the C++ type of a floating dtype.
template <class F>
void with_type(DType type, F&& f) {
  switch (type) {
    case DType::f32:
      return f(float{});
    case DType::bf16:
      return f(__nv_bfloat16{});
    case DType::f16:
      return f(__half{});
    default:
      assertion_failed("a floating type", __FILE__, __LINE__);
  }
}

}  // namespace sft
