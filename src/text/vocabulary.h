// Token texts and ids of a model. Built once, then read by any number of threads.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace sft {

// The two halves of a 128-bit product, folded.
inline uint64_t mix_bits(uint64_t a, uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// A fast hash for short keys in tables that are not exposed to strangers across processes.
inline uint64_t hash_bytes(const char* data, size_t size) {
  constexpr uint64_t k = 0x9E3779B97F4A7C15ull;
  uint64_t h = size * k;
  uint64_t word = 0;
  for (; size > 8; size -= 8, data += 8) {
    std::memcpy(&word, data, 8);
    h = mix_bits(h ^ word, k);
  }
  word = 0;
  std::memcpy(&word, data, size);
  return mix_bits(h ^ word, 0xD6E8FEB86659FD93ull);
}

class Vocabulary {
 public:
  static constexpr int32_t kNone = -1;
  static constexpr int32_t kMaxId = (1 << 24) - 1;

  void reserve(size_t tokens, size_t bytes);
  // False when the id is negative or above kMaxId, or the text or the id is already there.
  bool add(std::string_view text, int64_t id);

  // For lists, where a text may stand twice: `find` gives the last of them. False when the id is
  // not the next one or above kMaxId.
  bool append(std::string_view text, int64_t id);

  int32_t find(std::string_view text) const;  // kNone when it is not there
  std::string_view text(int32_t id) const {   // "" for an id that is not there
    if (id < 0 || static_cast<size_t>(id) >= entries_.size()) {
      return {};
    }
    const Entry& entry = entries_[static_cast<size_t>(id)];
    return {pool_.data() + entry.offset, entry.size};
  }
  bool has(int32_t id) const {
    return id >= 0 && static_cast<size_t>(id) < entries_.size() &&
           entries_[static_cast<size_t>(id)].used;
  }
  int32_t count() const { return count_; }                                  // tokens
  int32_t id_end() const { return static_cast<int32_t>(entries_.size()); }  // largest id + 1

 private:
  struct Entry {
    uint64_t offset = 0;
    uint32_t size = 0;
    bool used = false;
  };
  struct Slot {
    uint32_t tag = 0;
    int32_t id = kNone;
  };
  void put(std::string_view text, size_t index);
  void grow();
  void insert(std::string_view text, int32_t id);

  std::string pool_;
  std::vector<Entry> entries_;
  std::vector<Slot> slots_ = std::vector<Slot>(16);
  int32_t count_ = 0;
};

}  // namespace sft
