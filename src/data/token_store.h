// Tokenised rows in memory, and the same rows packed. Made by prepare_dataset.
#pragma once

#include <cstdint>
#include <vector>

#include "data/example.h"
#include "data/pack.h"

namespace sft {

// All rows end to end: 4 bytes and 1 bit a token. Labels are kept whole only where some differ from
// both their token and kIgnored.
class TokenStore : public PreparedDataset {
 public:
  void append(const Example& row);
  // Row i becomes what row rows[i] was; rows that are not named are seen no more.
  void select(const std::vector<int64_t>& rows);

  int64_t size() const override { return static_cast<int64_t>(order_.size()); }
  Example example(int64_t i) const override { return piece({i, 0, length(i)}); }
  int64_t length(int64_t i) const override;
  // The tokens and labels of a part of row `piece.example`.
  Example piece(const Piece& piece) const;
  std::vector<int64_t> lengths() const;

 private:
  std::vector<int32_t> tokens_, labels_;
  std::vector<bool> trained_;
  bool whole_labels_ = false;
  std::vector<int64_t> begins_ = {0};
  std::vector<int64_t> order_;
};

class PackedStore : public PreparedDataset {
 public:
  // `isolated`: the pieces of a row are documents of their own (bfd), not one stream (wrapped).
  PackedStore(TokenStore rows, PackPlan plan, bool isolated);
  void select(const std::vector<int64_t>& rows);  // as above

  int64_t size() const override { return static_cast<int64_t>(order_.size()); }
  Example example(int64_t i) const override;
  int64_t length(int64_t i) const override;

 private:
  TokenStore rows_;
  PackPlan plan_;
  bool isolated_;
  std::vector<int64_t> order_;
};

}  // namespace sft
