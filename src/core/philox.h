// The generator behind core/rng.h, for the CPU and for CUDA kernels alike.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define SFT_BOTH __host__ __device__
#else
#define SFT_BOTH
#endif

namespace sft {

struct PhiloxWords {
  uint32_t x, y, z, w;
};

SFT_BOTH inline PhiloxWords philox_words(uint64_t seed, uint64_t stream, uint64_t counter) {
  PhiloxWords p{static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32),
                static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)};
  auto key0 = static_cast<uint32_t>(seed);
  auto key1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53U} * p.x;
    const uint64_t b = uint64_t{0xCD9E8D57U} * p.z;
    p = {static_cast<uint32_t>(b >> 32) ^ p.y ^ key0, static_cast<uint32_t>(b),
         static_cast<uint32_t>(a >> 32) ^ p.w ^ key1, static_cast<uint32_t>(a)};
    key0 += 0x9E3779B9U;
    key1 += 0xBB67AE85U;
  }
  return p;
}

}  // namespace sft
