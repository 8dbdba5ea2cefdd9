#include "state/shard_layout.h"

#include <algorithm>

namespace sft {

ShardLayout::ShardLayout(const ParamLayout& layout, ShardPlace place)
    : place_(place), starts_(layout.block_offsets) {
  int64_t at = 0;
  for (size_t b = 0; b + 1 < starts_.size(); ++b) {
    const int64_t tiles = (starts_[b + 1] - starts_[b]) / kTile;
    slice_at_.push_back(at);
    slices_.push_back((tiles + place.ranks - 1) / place.ranks * kTile);
    at += slices_.back();
  }
  slice_at_.push_back(at);
}

ElementRange ShardLayout::block(int block) const {
  const auto b = static_cast<size_t>(block);
  return {starts_[b], starts_[b + 1]};
}

ShardRange ShardLayout::own(int block, int rank) const {
  const ElementRange all = this->block(block);
  const int64_t begin = std::min(all.begin + rank * slice(block), all.end);
  const int64_t end = std::min(all.begin + (rank + 1) * slice(block), all.end);
  return {{begin, end}, whole_at(block) + rank * slice(block), slice_at(block), block};
}

std::vector<ShardRange> ShardLayout::own() const {
  std::vector<ShardRange> out;
  for (int b = 0; b < blocks(); ++b) {
    out.push_back(own(b));
  }
  return out;
}

std::vector<ShardRange> ShardLayout::all() const {
  if (alone()) {
    return {{{0, starts_.back()}, 0, 0, 0}};
  }
  std::vector<ShardRange> out;
  for (int b = 0; b < blocks(); ++b) {
    out.push_back({block(b), whole_at(b), slice_at(b), b});
  }
  return out;
}

BlockSlots::BlockSlots(const ShardLayout& shards) : blocks_(shards.blocks()) {
  int64_t size[kSlots] = {};
  for (int b = 0; b < blocks_; ++b) {
    size[slot(b)] = std::max(size[slot(b)], shards.whole(b));
  }
  for (int s = 0; s < kSlots; ++s) {
    at_[s + 1] = at_[s] + size[s];
  }
}

}  // namespace sft
