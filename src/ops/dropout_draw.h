// Which values dropout keeps, for the CPU and for CUDA kernels alike.
#pragma once

#include "core/philox.h"

namespace sft {

struct DropoutDraw {
  uint64_t seed;
  uint32_t threshold;  // a word below it drops
  uint64_t site;
  float scale;

  SFT_BOTH DropoutDraw(const int32_t* words, float rate, uint32_t layer)
      : seed(static_cast<uint64_t>(static_cast<uint32_t>(words[1])) << 32 |
             static_cast<uint32_t>(words[0])),
        threshold(static_cast<uint32_t>(static_cast<double>(rate) * 4294967296.0)),
        site(static_cast<uint64_t>(layer) << 32),
        scale(1.0F / (1.0F - rate)) {}

  // The words of values i to i + 3 (i a multiple of 4) of the token with this key.
  SFT_BOTH PhiloxWords words(const int32_t* key, int64_t i) const {
    const uint64_t token =
        static_cast<uint64_t>(static_cast<uint32_t>(key[0])) << 32 | static_cast<uint32_t>(key[1]);
    return philox_words(seed, site | static_cast<uint64_t>(i / 4), token);
  }
  // Of attention's weights: i of a head and of the key with this place in its document. Heads below
  // 1,024 and places below 2^24 have numbers of their own.
  SFT_BOTH static int64_t pair(int head, int64_t place) { return (int64_t{head} << 24) + place; }
  SFT_BOTH bool kept(const PhiloxWords& w, int64_t i) const {
    const uint32_t word = i % 4 == 0 ? w.x : i % 4 == 1 ? w.y : i % 4 == 2 ? w.z : w.w;
    return word >= threshold;
  }
};

}  // namespace sft
