// Counter-based random numbers: the value depends only on (seed, stream, counter), never on the
// order of calls, so any thread may draw any number.
// Philox 4x32-10, Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
#pragma once

#include <array>
#include <cstdint>

namespace sft {

// Four independent 32-bit words.
std::array<uint32_t, 4> philox(uint64_t seed, uint64_t stream, uint64_t counter);
// Uniform in [0, 1) with 24 bits.
float uniform(uint64_t seed, uint64_t stream, uint64_t counter);
// Standard normal, by Box and Muller's transform.
float normal(uint64_t seed, uint64_t stream, uint64_t counter);

}  // namespace sft
