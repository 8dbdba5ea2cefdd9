// The ids of words met before, so that common words skip the merging. One per thread, owned by its
// scratch; results never depend on what it holds.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "text/vocabulary.h"

namespace sft {

class WordCache {
 public:
  static constexpr size_t kMaxBytes = 16;
  static constexpr size_t kMaxIds = 3;
  struct Key {
    uint64_t low = 0, high = 0;
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct alignas(32) Entry {
    Key key;
    uint8_t bytes = 0;
    uint8_t count = 0;
    std::array<int32_t, kMaxIds> ids{};
  };

  // The place for a word of 1 to kMaxBytes bytes.
  Entry& slot(const Key& key) {
    const uint64_t hash = mix_bits(key.low ^ 0x9E3779B97F4A7C15ull,
                                   key.high * 0xD6E8FEB86659FD93ull + 0xA0761D6478BD642Full);
    return entries_[hash & (kEntries - 1)];
  }
  static Key key_of(std::string_view word) {
    Key key;
    std::memcpy(&key, word.data(), word.size());
    return key;
  }
  void prefetch(std::string_view word) {
    if (word.size() <= kMaxBytes) {
      __builtin_prefetch(&slot(key_of(word)));
    }
  }
  void clear() { entries_.assign(kEntries, Entry{}); }

 private:
  static constexpr size_t kEntries = 1 << 15;
  std::vector<Entry> entries_ = std::vector<Entry>(kEntries);
};

}  // namespace sft
