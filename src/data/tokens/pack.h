// Packing: which pieces of which examples share a row of at most max_length tokens. Only lengths
// decide, so a plan is made before any token is moved. Used by prepare_dataset.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace sft {

enum class Packing { bfd, bfd_split, wrapped };

// "bfd", "bfd_split" (also "bfd-requeue", its old name) or "wrapped"; otherwise D050.
Packing parse_packing(std::string_view strategy);

// Tokens [begin, begin + length) of one example.
struct Piece {
  int64_t example;
  int64_t begin;
  int64_t length;
  bool operator==(const Piece&) const = default;
};

struct PackPlan {
  std::vector<Piece> pieces;        // row after row
  std::vector<int64_t> row_begins;  // rows + 1 offsets into `pieces`
  int64_t tokens_cut = 0;           // by bfd's truncation

  int64_t rows() const { return static_cast<int64_t>(row_begins.size()) - 1; }
  std::span<const Piece> row(int64_t i) const;
};

// TRL packs each slice of 1,000 examples by itself, and so does this: the rows are TRL's, in TRL's
// order. `bfd` is best-fit-decreasing with longer examples cut; `bfd_split` cuts them into pieces
// that are all kept; `wrapped` is one stream cut every max_length tokens.
// Ding et al., "Fewer truncations improve language modeling" (ICML 2024). O(n log max_length).
PackPlan plan_packing(std::span<const int64_t> lengths, int64_t max_length, Packing strategy);

}  // namespace sft
