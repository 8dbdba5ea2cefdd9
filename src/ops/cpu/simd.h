// Vector code by the compiler: a kernel's inner loop is a plain loop in a function marked SFT_SIMD,
// which is compiled once per instruction set (levels, not one maker's names) and chosen when the
// program starts. No intrinsics, so the loop stays readable as the kernel's specification.
#pragma once

#include <cstdint>

#if defined(__x86_64__) && !defined(SFT_SANITIZED)  // a sanitizer is not ready for the choice
#define SFT_SIMD [[gnu::target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")]]
#define SFT_SUM_BLOCK 256  // 32 terms for each of a vector's lanes
#else
#define SFT_SIMD
#define SFT_SUM_BLOCK 128
#endif
#define SFT_INLINE [[gnu::always_inline]] inline

namespace sft::cpu {

// e^x within 2 ulp for -87 <= x <= 88, and the value at the nearer end beyond; NaN stays NaN.
// Cody-Waite reduction and a polynomial, without a branch, so that the compiler can run it in all
// lanes (the library's exp is a call).
SFT_INLINE float fast_exp(float x) {
  const float low = x < -87.0F ? -87.0F : x;
  const float clamped = low > 88.0F ? 88.0F : low;
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to a whole number
  const float shifted = clamped * 1.44269504F + kRound;
  const float n = shifted - kRound;
  const float r = (clamped - n * 0.693359375F) + n * 2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  const float e = p * r * r + r + 1.0F;
  // The low bits of `shifted` are n; a conversion to an integer would have no meaning for a NaN.
  const uint32_t exponent =
      __builtin_bit_cast(uint32_t, shifted) - __builtin_bit_cast(uint32_t, kRound) + 127U;
  return e * __builtin_bit_cast(float, exponent << 23);
}

SFT_INLINE float fast_sigmoid(float x) { return 1.0F / (1.0F + fast_exp(-x)); }

// The sum of term(i) for i in [0, n). Float32 lanes add up a block at most, and blocks are added in
// float64: the error does not grow with n. A long row's small terms would otherwise be lost one
// after the other against a sum that is already large.
constexpr int64_t kSumBlock = SFT_SUM_BLOCK;
template <class Term>
SFT_INLINE double block_sum(int64_t n, const Term& term) {
  double total = 0.0;
  for (int64_t begin = 0; begin < n; begin += kSumBlock) {
    const int64_t end = begin + kSumBlock < n ? begin + kSumBlock : n;
    float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = begin; i < end; ++i) {
      sum += term(i);
    }
    total += static_cast<double>(sum);
  }
  return total;
}

// tanh x = 1 - 2 / (e^2x + 1)
SFT_INLINE float fast_tanh(float x) { return 1.0F - 2.0F / (fast_exp(2.0F * x) + 1.0F); }

}  // namespace sft::cpu
