// Matrix products of a warp, of compute capability 8.0 and up: bfloat16 or float16 operands from
// tiles in shared memory, sums in float32. Older cards have not all of its instructions: what is
// compiled for these does nothing, and no kernel of it is started there.
//
// A tile has rows of D values, kTilePad apart from one another beyond that, so that the eight rows
// that are read at once lie in different banks.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

namespace sft::mma {

constexpr int kTilePad = 8;

// A warp's 16 x 8 sums: a thread has columns 2 (lane % 4) and the next one of rows lane / 4 and
// lane / 4 + 8.
using Sums = float[4];

__device__ inline uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// 16 bytes to shared memory beside the work that follows; zeros unless `inside`.
__device__ inline void copy_16(void* to, const void* from, bool inside) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(inside ? 16 : 0)
               : "memory");
#endif
}
__device__ inline void commit_copies() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// Until all but the last kLeft groups of this thread are there.
template <int kLeft>
__device__ inline void wait_copies() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
#endif
}

template <class T>
__device__ inline uint32_t pack(float low, float high) {
  if constexpr (std::is_same_v<T, __half>) {
    const __half2 v = __floats2half2_rn(low, high);
    return reinterpret_cast<const uint32_t&>(v);
  } else {
    const __nv_bfloat162 v = __floats2bfloat162_rn(low, high);
    return reinterpret_cast<const uint32_t&>(v);
  }
}

// Four 8 x 8 blocks of 16-bit values, as they lie or transposed; each lane names a row.
template <bool kTransposed>
__device__ inline void load_blocks(const void* row, uint32_t (&r)[4]) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  if constexpr (kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
  }
#endif
}

// d += a (16 x 16) b (16 x 8)
template <class T>
__device__ inline void multiply(Sums& d, const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  if constexpr (std::is_same_v<T, __half>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
#endif
}

// sums (16, kColumns) = the 16 rows at `a` times the kColumns rows at `b`, both of D values.
template <int D, int kColumns, class T>
__device__ inline void dot_rows(const T* a, const T* b, Sums (&sums)[kColumns / 8]) {
  constexpr int kStride = D + kTilePad;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const T* const a_row = a + lane % 16 * kStride + lane / 16 * 8;
  const T* const b_row = b + (lane / 16 * 8 + lane % 8) * kStride + lane / 8 % 2 * 8;
#pragma unroll
  for (Sums& sum : sums) {
    sum[0] = sum[1] = sum[2] = sum[3] = 0.0F;
  }
#pragma unroll 4
  for (int k = 0; k < D; k += 16) {
    uint32_t x[4];
    load_blocks<false>(a_row + k, x);
#pragma unroll
    for (int n = 0; n < kColumns; n += 16) {
      uint32_t y[4];
      load_blocks<false>(b_row + n * kStride + k, y);
      multiply<T>(sums[n / 8], x, y[0], y[1]);
      multiply<T>(sums[n / 8 + 1], x, y[2], y[3]);
    }
  }
}

// out (16, kOut) += weights (16, kRows), rounded to T, times kOut values from `b` on of kRows rows,
// which have D.
template <int D, int kRows, int kOut, class T>
__device__ inline void add_rows(const Sums (&weights)[kRows / 8], const T* b,
                                Sums (&out)[kOut / 8]) {
  constexpr int kStride = D + kTilePad;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const T* const b_row = b + lane % 16 * kStride + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < kRows; k += 16) {
    const Sums& left = weights[k / 8];
    const Sums& right = weights[k / 8 + 1];
    const uint32_t x[4] = {pack<T>(left[0], left[1]), pack<T>(left[2], left[3]),
                           pack<T>(right[0], right[1]), pack<T>(right[2], right[3])};
#pragma unroll
    for (int n = 0; n < kOut; n += 16) {
      uint32_t y[4];
      load_blocks<true>(b_row + k * kStride + n, y);
      multiply<T>(out[n / 8], x, y[0], y[1]);
      multiply<T>(out[n / 8 + 1], x, y[2], y[3]);
    }
  }
}

}  // namespace sft::mma
