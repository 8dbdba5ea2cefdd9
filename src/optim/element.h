// What happens to one element in an AdamW step, for the CPU and for CUDA kernels alike: the update,
// stochastic rounding, and the codes of 8-bit states.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "core/philox.h"
#include "optim/kernels.h"

#if defined(__CUDACC__)
#define SFT_ELEMENT __host__ __device__ inline
#else
#define SFT_ELEMENT [[gnu::always_inline]] inline
#endif

namespace sft {

SFT_ELEMENT void adamw_element(const AdamWUpdate& u, float decay, float g, float& w, float& m,
                               float& v) {
  const float gradient = g * u.clip;
  m = m + (gradient - m) * u.one_minus_beta1;
  v = v * u.beta2 + gradient * gradient * u.one_minus_beta2;
  w = w * decay - u.step_size * m / (sqrtf(v) * u.correction + u.epsilon);
}

// 16 random bits each for the weight and the two moments of one element of the layout. They depend
// on nothing but the seed, the step and the element.
struct RoundingBits {
  uint32_t weight, first, second;
};
SFT_ELEMENT RoundingBits rounding_bits(uint64_t seed, uint64_t step, int64_t element) {
  constexpr uint64_t kStream = uint64_t{0x53520000} << 32;  // apart from other uses of the seed
  const PhiloxWords p = philox_words(seed, kStream | step, static_cast<uint64_t>(element) / 2);
  const uint32_t a = element % 2 == 0 ? p.x : p.z;
  const uint32_t b = element % 2 == 0 ? p.y : p.w;
  return {a & 0xffffU, a >> 16, b & 0xffffU};
}

// The bits of a bfloat16 above or below x, away from zero with the probability of x's distance, so
// that the mean is x. Infinity stays, and no number stays none.
SFT_ELEMENT uint16_t round_stochastically(float x, uint32_t random16) {
  uint32_t bits = 0;
  memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7f800000U) == 0x7f800000U) {
    return static_cast<uint16_t>((bits >> 16) | ((bits & 0x7fffffU) != 0 ? 0x40U : 0U));
  }
  return static_cast<uint16_t>((bits + random16) >> 16);
}

// The 8-bit code whose value is nearest to x; `map` has 256 rising values. Of two that are equally
// near, the one where a search by halves ends, as in bitsandbytes.
SFT_ELEMENT uint8_t nearest_code(const float* map, float x) {
  int at = 127;
  int low = 0;
  int high = 255;
  for (int half = 64; half > 0; half /= 2) {
    if (x > map[at]) {
      low = at;
      at += half;
    } else {
      high = at;
      at -= half;
    }
  }
  if (x > map[at]) {
    return static_cast<uint8_t>(x > (map[at] + map[high]) * 0.5F ? high : at);
  }
  return static_cast<uint8_t>(x < (map[low] + map[at]) * 0.5F ? low : at);
}

// The same for a first moment, whose sign is never lost.
SFT_ELEMENT uint8_t nearest_signed_code(const float* map, float x) {
  const uint8_t code = nearest_code(map, x);
  if (x > 0.0F && map[code] <= 0.0F) {
    return static_cast<uint8_t>(code + (map[code] < 0.0F ? 2 : 1));
  }
  return x < 0.0F && map[code] >= 0.0F ? static_cast<uint8_t>(code - 1) : code;
}

}  // namespace sft
