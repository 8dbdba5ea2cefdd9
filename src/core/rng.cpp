#include "core/rng.h"

#include <cmath>
#include <numbers>

#include "core/philox.h"

namespace sft {

std::array<uint32_t, 4> philox(uint64_t seed, uint64_t stream, uint64_t counter) {
  const PhiloxWords p = philox_words(seed, stream, counter);
  return {p.x, p.y, p.z, p.w};
}

float uniform(uint64_t seed, uint64_t stream, uint64_t counter) {
  return static_cast<float>(philox(seed, stream, counter)[0] >> 8) * 0x1p-24F;
}

float normal(uint64_t seed, uint64_t stream, uint64_t counter) {
  const auto x = philox(seed, stream, counter);
  const double u = (static_cast<double>(x[0]) + 1.0) * 0x1p-32;
  const double angle = 2.0 * std::numbers::pi * static_cast<double>(x[1]) * 0x1p-32;
  return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(angle));
}

}  // namespace sft
