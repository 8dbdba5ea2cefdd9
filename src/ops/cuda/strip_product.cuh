// Products of small matrices in tiles, of which each warp keeps a strip of 16 rows in its
// registers, so that what follows elementwise goes through no memory: on tensor cores in 16 bits
// and by threads in float32 (and on cards that have none for bfloat16).
#pragma once

#include "device/cuda/vec.cuh"
#include "ops/cuda/mma.cuh"

namespace sft {

// A matrix with rows of `stride` numbers.
template <class T>
struct Matrix {
  T* at;
  int stride;

  __device__ T& operator()(int row, int column) const { return at[row * stride + column]; }
};

// In shared memory rows begin in different banks: a few numbers lie between them.
constexpr int kTileGap = 8;

}  // namespace sft

namespace sft::strip {

using mma::Sums;

// Older cards have none for bfloat16.
template <class T>
constexpr bool has_tensor_cores() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  return false;
#else
  return sizeof(T) == 2;
#endif
}

// 16 bytes to where tiles lie, beside the work that follows, or zeros; see mma::commit_copies. What
// needs no tensor cores may lie outside of shared memory, where nothing is copied beside.
template <class T>
__device__ inline void bring_16(T* to, const T* from, bool inside) {
  if constexpr (has_tensor_cores<T>()) {
    mma::copy_16(to, from, inside);
  } else {
    *reinterpret_cast<uint4*>(to) = inside ? *reinterpret_cast<const uint4*>(from) : uint4{};
  }
}

// Two neighbours as they lie in memory.
template <class T>
struct alignas(2 * sizeof(T)) Two {
  T x, y;
};

__device__ inline float2 load_pair(const float* x) { return *reinterpret_cast<const float2*>(x); }
template <class T>
__device__ inline float2 load_pair(const T* x) {
  return {widen(x[0]), widen(x[1])};
}
__device__ inline void store_pair(float* to, float a, float b) {
  *reinterpret_cast<float2*>(to) = {a, b};
}
template <class T>
__device__ inline void store_pair(T* to, float a, float b) {
  *reinterpret_cast<uint32_t*>(to) = mma::pack<T>(a, b);
}

// Calls f(which, column, x, y) for each two neighbours x and y that this thread has of a strip:
// they stand in row(which), which is 0 or 1, from `column` on.
__device__ inline int row(int which) { return static_cast<int>(threadIdx.x) % 32 / 4 + 8 * which; }
template <int kTiles, class F>
__device__ inline void each_pair(Sums (&sums)[kTiles], const F& f) {
  const int column = 2 * (static_cast<int>(threadIdx.x) % 4);
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
#pragma unroll
    for (int which = 0; which < 2; ++which) {
      f(which, 8 * n + column, sums[n][2 * which], sums[n][2 * which + 1]);
    }
  }
}

template <int kTiles>
__device__ inline void clear(Sums (&sums)[kTiles]) {
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
    sums[n][0] = sums[n][1] = sums[n][2] = sums[n][3] = 0.0F;
  }
}

// sums (16, 8 kTiles) += a (16, kDepth) b (kDepth, 8 kTiles). A matrix that is turned lies in
// memory as its transpose, with rows kStrideA and kStrideB apart.
template <bool kTurnedA, bool kTurnedB, int kDepth, int kStrideA, int kStrideB, int kTiles, class T>
__device__ inline void add_product(const T* a, const T* b, Sums (&sums)[kTiles]) {
  static_assert(kTiles % 2 == 0 && kDepth % 16 == 0);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if constexpr (has_tensor_cores<T>()) {
    const T* const left = a + (kTurnedA ? (lane / 16 * 8 + lane % 8) * kStrideA + lane / 8 % 2 * 8
                                        : lane % 16 * kStrideA + lane / 16 * 8);
    const T* const right = b + (kTurnedB ? (lane / 16 * 8 + lane % 8) * kStrideB + lane / 8 % 2 * 8
                                         : lane % 16 * kStrideB + lane / 16 * 8);
// More at a time takes registers from those who call.
#pragma unroll 2
    for (int k = 0; k < kDepth; k += 16) {
      uint32_t x[4];
      mma::load_blocks<kTurnedA>(left + (kTurnedA ? k * kStrideA : k), x);
#pragma unroll
      for (int n = 0; n < kTiles; n += 2) {
        uint32_t y[4];
        mma::load_blocks<!kTurnedB>(
            right + (kTurnedB ? 8 * n * kStrideB + k : k * kStrideB + 8 * n), y);
        mma::multiply<T>(sums[n], x, y[0], y[1]);
        mma::multiply<T>(sums[n + 1], x, y[2], y[3]);
      }
    }
  } else {
    const int column = 2 * (lane % 4);
    for (int k = 0; k < kDepth; ++k) {
      float x[2];
#pragma unroll
      for (int which = 0; which < 2; ++which) {
        x[which] = widen(kTurnedA ? a[k * kStrideA + row(which)] : a[row(which) * kStrideA + k]);
      }
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int at = 8 * n + column + i;
          const float y = widen(kTurnedB ? b[at * kStrideB + k] : b[k * kStrideB + at]);
          sums[n][i] += x[0] * y;
          sums[n][2 + i] += x[1] * y;
        }
      }
    }
  }
}

}  // namespace sft::strip
