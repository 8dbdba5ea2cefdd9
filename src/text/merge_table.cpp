#include "text/merge_table.h"

#include <bit>

namespace sft {

MergeTable::MergeTable(const std::vector<Merge>& merges) {
  const uint64_t bits = std::bit_ceil(merges.size() * 8 + 64);
  const uint64_t slots = std::bit_ceil(merges.size() * 3 / 2 + 16);
  filter_.resize(bits / 64);
  filter_mask_ = bits - 1;
  keys_.assign(slots, kNoPair);
  values_.resize(slots);
  mask_ = slots - 1;
  for (uint64_t rank = 0; rank < merges.size(); ++rank) {
    const Merge& merge = merges[rank];
    const uint64_t key = static_cast<uint64_t>(static_cast<uint32_t>(merge.left)) << 32 |
                         static_cast<uint32_t>(merge.right);
    const uint64_t hash = hash_of(key);
    const uint64_t bit = hash & filter_mask_;
    filter_[bit >> 6] |= uint64_t{1} << (bit & 63);
    uint64_t i = hash >> 20 & mask_;
    while (keys_[i] != kNoPair && keys_[i] != key) {
      i = (i + 1) & mask_;
    }
    keys_[i] = key;
    values_[i] = rank << 32 | static_cast<uint32_t>(merge.result);
  }
}

}  // namespace sft
