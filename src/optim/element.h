// What an update's kernels do to one value besides its rule, on the CPU and in CUDA alike:
// stochastic rounding, and the codes of 8-bit states.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/philox.h"
#include "formats/block8.h"
#include "optim/kernels.h"

namespace sft {

// 16 random bits each for the weight and the states of an element.
struct RoundingBits {
  uint32_t weight;
  uint32_t state[kMaxSlots];
};
struct RoundingPair {
  RoundingBits even, odd;
};
// Those of elements 2 pair and 2 pair + 1 of the layout. They depend on nothing but the seed, the
// step and the element.
SFT_ELEMENT RoundingPair rounding_bits(uint64_t seed, uint64_t step, int64_t pair) {
  constexpr uint64_t kStream = uint64_t{0x53520000} << 32;  // apart from other uses of the seed
  const PhiloxWords p = philox_words(seed, kStream | step, static_cast<uint64_t>(pair));
  return {{p.x & 0xffffU, {p.x >> 16, p.y & 0xffffU, p.y >> 16}},
          {p.z & 0xffffU, {p.z >> 16, p.w & 0xffffU, p.w >> 16}}};
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

// The code of `book` for x of at most 1 in size.
SFT_ELEMENT uint8_t code_of(const block8::Book& book, float x) {
  uint32_t bits = 0;
  memcpy(&bits, &x, sizeof bits);
  const int size = static_cast<int>((bits & 0x7fffffffU) >> (23 - block8::kMantissa));
  const int bucket = size < block8::kFirstBucket                      ? 0
                     : size - block8::kFirstBucket < block8::kBuckets ? size - block8::kFirstBucket
                                                                      : block8::kBuckets - 1;
  int code = book.starts[bucket + (bits >> 31 != 0 ? block8::kBuckets : 0)];
  for (int step = 0; step < block8::kSteps; ++step) {
    code += x >= book.borders[code] ? 1 : 0;
  }
  return static_cast<uint8_t>(code);
}

}  // namespace sft
