// All texts of a vocabulary in one double array, to find those that a text begins with. Used by the
// models of the tokenizer; built once, then read by any number of threads.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace sft {

class TokenTrie {
 public:
  static constexpr int32_t kNone = -1;
  using Node = uint32_t;
  static constexpr Node kRoot = 0;
  static constexpr Node kDead = UINT32_MAX;

  // Of equal texts the last value counts; empty texts are left out. The texts are not kept.
  void build(std::vector<std::pair<std::string_view, int32_t>> tokens);

  Node step(Node node, unsigned char byte) const {
    const Unit& unit = units_[node];
    if ((unit.labels >> (byte & 31) & 1) == 0) {
      return kDead;  // without a look at a place that is likely not in the cache
    }
    const Node next = unit.base ^ byte;
    return units_[next].parent == node ? next : kDead;
  }
  // The value of the text that ends at this node, or kNone.
  int32_t value(Node node) const { return units_[node].value; }

  // Where the text's bytes lead, or kDead.
  Node walk(Node node, std::string_view text) const {
    for (size_t i = 0; i < text.size() && node != kDead; ++i) {
      node = step(node, static_cast<unsigned char>(text[i]));
    }
    return node;
  }

 private:
  static constexpr Node kFree = UINT32_MAX;
  struct alignas(16) Unit {
    uint32_t base = 0;
    uint32_t labels = 0;  // a bit for the low five bits of each child's byte
    Node parent = kFree;  // of a free unit no node is the parent
    int32_t value = kNone;
  };
  uint32_t find_base(const std::vector<unsigned char>& labels);
  void add_block();
  void take(uint32_t unit);

  std::vector<Unit> units_;
  // Free units of the last blocks in a ring, while building.
  std::vector<uint32_t> next_free_, previous_free_;
  uint32_t first_free_ = kFree;
};

}  // namespace sft
