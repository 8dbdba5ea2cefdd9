// How the ranks that share one copy of a model hold it (ZeRO: Rajbhandari et al. 2020): each block
// of the flat layout is cut into one slice a rank, of whole tiles. The trainer, checkpoints and the
// memory plan read it from here.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/parameter.h"

namespace sft {

// A rank among those that share a copy, and what they share out: 0 nothing, 1 masters and moments,
// 2 gradients too, 3 weights too.
struct ShardPlace {
  int rank = 0, ranks = 1;
  int stage = 0;
};

// Elements that one rank's optimizer updates at once, and where they lie in a buffer of whole
// blocks and in one of this rank's slices.
struct ShardRange {
  ElementRange range;  // of the layout; may be empty
  int64_t whole_at = 0, slice_at = 0;
  int block = 0;  // the first, where the range spans several
};

class ShardLayout {
 public:
  ShardLayout() = default;
  ShardLayout(const ParamLayout& layout, ShardPlace place);

  const ShardPlace& place() const { return place_; }
  bool alone() const { return place_.ranks == 1; }
  int blocks() const { return static_cast<int>(slices_.size()); }
  // Elements of a block's slice, the same for every rank: the last ones' are filled up.
  int64_t slice(int block) const { return slices_[static_cast<size_t>(block)]; }
  // What a block takes in a buffer of whole blocks, where slices lie in the order of the ranks.
  int64_t whole(int block) const { return slice(block) * place_.ranks; }
  // Where a block begins there, and its slice in a buffer of one rank's slices, in elements.
  int64_t whole_at(int block) const { return slice_at(block) * place_.ranks; }
  int64_t slice_at(int block) const { return slice_at_[static_cast<size_t>(block)]; }
  int64_t whole_elements() const { return slice_elements() * place_.ranks; }
  int64_t slice_elements() const { return slice_at_.empty() ? 0 : slice_at_.back(); }
  // A block's elements in the layout.
  ElementRange block(int block) const;
  // The part of them in a rank's slice.
  ShardRange own(int block, int rank) const;
  ShardRange own(int block) const { return own(block, place_.rank); }
  // Every block's.
  std::vector<ShardRange> own() const;
  // Everything, in one range where that can be.
  std::vector<ShardRange> all() const;
  // What this rank's optimizer updates: everything at stage 0, else its slices.
  std::vector<ShardRange> updated() const { return place_.stage == 0 ? all() : own(); }
  // Where an element of the layout, of a block, lies in a buffer of whole blocks.
  int64_t whole_at(int block, int64_t element) const {
    return whole_at(block) + element - starts_[static_cast<size_t>(block)];
  }

 private:
  ShardPlace place_;
  std::vector<int64_t> starts_;    // of the blocks in the layout, and the end
  std::vector<int64_t> slices_;    // elements of each block's slice
  std::vector<int64_t> slice_at_;  // and the end
};

// Room for a few whole blocks at a time: one for the first block (embeddings), one for the last
// (what follows the layers), and two that the layers take in turn.
class BlockSlots {
 public:
  BlockSlots() = default;
  explicit BlockSlots(const ShardLayout& shards);
  static constexpr int kSlots = 4;

  int slot(int block) const { return block == 0 ? 0 : block == blocks_ - 1 ? 1 : 2 + block % 2; }
  // Where a block begins, in elements.
  int64_t at(int block) const { return at_[slot(block)]; }
  int64_t elements() const { return at_[kSlots]; }

 private:
  int blocks_ = 0;
  int64_t at_[kSlots + 1] = {};
};

}  // namespace sft
