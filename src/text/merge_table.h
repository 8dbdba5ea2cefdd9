// Which two tokens merge into which, and how early. Used by Bpe, whose speed is that of `find`.
#pragma once

#include <cstdint>
#include <vector>

namespace sft {

struct Merge {
  int32_t left, right, result;
};

class MergeTable {
 public:
  static constexpr uint64_t kNoPair = UINT64_MAX;

  // `merges` in order of rank; of equal pairs the last one counts.
  explicit MergeTable(const std::vector<Merge>& merges);

  // rank << 32 | result, or kNoPair.
  uint64_t find(int32_t left, int32_t right) const {
    const uint64_t key =
        static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
    const uint64_t hash = hash_of(key);
    // Most pairs do not merge: a small bit set knows it for nearly all of them.
    const uint64_t bit = hash & filter_mask_;
    if ((filter_[bit >> 6] >> (bit & 63) & 1) == 0) {
      return kNoPair;
    }
    for (uint64_t i = hash >> 20 & mask_;; i = (i + 1) & mask_) {
      if (keys_[i] == key) {
        return values_[i];
      }
      if (keys_[i] == kNoPair) {
        return kNoPair;
      }
    }
  }

 private:
  static uint64_t hash_of(uint64_t key) {
    key *= 0x9E3779B97F4A7C15ull;
    return (key ^ key >> 29) * 0xD6E8FEB86659FD93ull >> 8;
  }

  std::vector<uint64_t> filter_;  // one bit a hash
  std::vector<uint64_t> keys_;    // left << 32 | right; values apart, as most look-ups need none
  std::vector<uint64_t> values_;
  uint64_t filter_mask_ = 0, mask_ = 0;
};

}  // namespace sft
