#include "text/token_trie.h"

#include <algorithm>

namespace sft {
namespace {

constexpr uint32_t kBlock = 256;  // a node's children lie in one block
constexpr int kMaxTries = 32;     // free places looked at before a new block is begun

}  // namespace

void TokenTrie::add_block() {
  const auto begin = static_cast<uint32_t>(units_.size());
  units_.resize(begin + kBlock);
  next_free_.resize(begin + kBlock);
  previous_free_.resize(begin + kBlock);
  for (uint32_t unit = begin; unit < begin + kBlock; ++unit) {  // the newest block comes first
    next_free_[unit] = unit + 1 < begin + kBlock ? unit + 1 : first_free_;
    previous_free_[unit] = unit > begin ? unit - 1 : kFree;
  }
  if (first_free_ != kFree) {
    previous_free_[first_free_] = begin + kBlock - 1;
  }
  first_free_ = begin;
}

void TokenTrie::take(uint32_t unit) {
  const uint32_t next = next_free_[unit], previous = previous_free_[unit];
  if (previous != kFree) {
    next_free_[previous] = next;
  } else {
    first_free_ = next;
  }
  if (next != kFree) {
    previous_free_[next] = previous;
  }
}

uint32_t TokenTrie::find_base(const std::vector<unsigned char>& labels) {
  int tries = 0;
  for (uint32_t unit = first_free_; unit != kFree && tries < kMaxTries; unit = next_free_[unit]) {
    const uint32_t base = unit ^ labels[0];
    if (std::all_of(labels.begin(), labels.end(),
                    [&](unsigned char label) { return units_[base ^ label].parent == kFree; })) {
      return base;
    }
    ++tries;
  }
  add_block();
  return first_free_;
}

void TokenTrie::build(std::vector<std::pair<std::string_view, int32_t>> tokens) {
  std::stable_sort(tokens.begin(), tokens.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  // A node and the sorted tokens below it: those that share its `depth` bytes.
  struct Pending {
    Node node;
    uint32_t begin, end, depth;
  };
  add_block();
  take(kRoot);
  units_[kRoot].parent = kDead - 1;  // not free, and nobody's child
  std::vector<Pending> queue{{kRoot, 0, static_cast<uint32_t>(tokens.size()), 0}};
  std::vector<unsigned char> labels;
  std::vector<uint32_t> begins;
  for (size_t head = 0; head < queue.size(); ++head) {
    auto [node, begin, end, depth] = queue[head];
    for (; begin < end && tokens[begin].first.size() == depth; ++begin) {
      units_[node].value = depth > 0 ? tokens[begin].second : kNone;
    }
    labels.clear();
    begins.clear();
    for (uint32_t i = begin; i < end; ++i) {
      const auto label = static_cast<unsigned char>(tokens[i].first[depth]);
      if (labels.empty() || labels.back() != label) {
        labels.push_back(label);
        begins.push_back(i);
      }
    }
    begins.push_back(end);
    if (labels.empty()) {
      continue;
    }
    const uint32_t base = find_base(labels);
    units_[node].base = base;
    for (size_t k = 0; k < labels.size(); ++k) {
      const Node child = base ^ labels[k];
      take(child);
      units_[child].parent = node;
      units_[node].labels |= uint32_t{1} << (labels[k] & 31);
      queue.push_back({child, begins[k], begins[k + 1], depth + 1});
    }
  }
  units_.shrink_to_fit();
  next_free_ = previous_free_ = {};
}

}  // namespace sft
