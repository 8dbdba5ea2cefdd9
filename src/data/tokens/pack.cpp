#include "data/tokens/pack.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <map>
#include <numeric>

#include "core/error.h"

namespace sft {

namespace {

constexpr int64_t kSlice = 1000;  // rows that `datasets` hands to one call of a batched map

std::vector<Piece> cut_to_length(std::span<const int64_t> lengths, int64_t first,
                                 int64_t max_length, bool keep_overflow, int64_t& tokens_cut) {
  std::vector<Piece> pieces;
  for (size_t i = 0; i < lengths.size(); ++i) {
    const auto example = first + static_cast<int64_t>(i);
    for (int64_t begin = 0; begin < lengths[i]; begin += max_length) {
      pieces.push_back({example, begin, std::min(max_length, lengths[i] - begin)});
      if (!keep_overflow) {
        tokens_cut += lengths[i] - pieces.back().length;
        break;
      }
    }
  }
  return pieces;
}

void best_fit(std::vector<Piece> pieces, int64_t max_length, PackPlan& plan) {
  std::ranges::stable_sort(pieces, std::ranges::greater{}, &Piece::length);
  std::vector<std::vector<Piece>> bins;
  // Bins that still have room, by room; among equals the one that came to it first is filled first.
  std::map<int64_t, std::deque<size_t>> by_room;
  for (const Piece& piece : pieces) {
    size_t bin = bins.size();
    int64_t room = max_length;
    if (const auto found = by_room.lower_bound(piece.length); found != by_room.end()) {
      room = found->first;
      bin = found->second.front();
      found->second.pop_front();
      if (found->second.empty()) {
        by_room.erase(found);
      }
    } else {
      bins.emplace_back();
    }
    bins[bin].push_back(piece);
    if (room > piece.length) {
      by_room[room - piece.length].push_back(bin);
    }
  }
  for (const auto& bin : bins) {
    plan.pieces.insert(plan.pieces.end(), bin.begin(), bin.end());
    plan.row_begins.push_back(static_cast<int64_t>(plan.pieces.size()));
  }
}

void wrap(std::span<const int64_t> lengths, int64_t first, int64_t max_length, PackPlan& plan) {
  int64_t room = max_length;
  for (size_t i = 0; i < lengths.size(); ++i) {
    for (int64_t begin = 0; begin < lengths[i];) {
      const int64_t length = std::min(room, lengths[i] - begin);
      plan.pieces.push_back({first + static_cast<int64_t>(i), begin, length});
      begin += length;
      room -= length;
      if (room == 0) {
        plan.row_begins.push_back(static_cast<int64_t>(plan.pieces.size()));
        room = max_length;
      }
    }
  }
  if (room < max_length) {
    plan.row_begins.push_back(static_cast<int64_t>(plan.pieces.size()));
  }
}

}  // namespace

Packing parse_packing(std::string_view strategy) {
  if (strategy == "bfd") {
    return Packing::bfd;
  }
  if (strategy == "bfd_split" || strategy == "bfd-requeue") {
    return Packing::bfd_split;
  }
  if (strategy == "wrapped") {
    return Packing::wrapped;
  }
  throw Error("D050", fmt::format("there is no packing_strategy \"{}\"", strategy))
      .hint("use bfd, bfd_split or wrapped");
}

std::span<const Piece> PackPlan::row(int64_t i) const {
  const auto begin = static_cast<size_t>(row_begins[static_cast<size_t>(i)]);
  const auto end = static_cast<size_t>(row_begins[static_cast<size_t>(i) + 1]);
  return std::span(pieces).subspan(begin, end - begin);
}

PackPlan plan_packing(std::span<const int64_t> lengths, int64_t max_length, Packing strategy) {
  if (max_length <= 0) {
    throw Error("D051", fmt::format("packing needs a positive max_length, not {}", max_length))
        .hint("give --max_length, for example --max_length 1024");
  }
  PackPlan plan;
  plan.row_begins.push_back(0);
  const auto n = static_cast<int64_t>(lengths.size());
  for (int64_t first = 0; first < n; first += kSlice) {
    const auto slice = lengths.subspan(static_cast<size_t>(first),
                                       static_cast<size_t>(std::min(kSlice, n - first)));
    if (strategy == Packing::wrapped) {
      wrap(slice, first, max_length, plan);
    } else {
      best_fit(
          cut_to_length(slice, first, max_length, strategy == Packing::bfd_split, plan.tokens_cut),
          max_length, plan);
    }
  }
  return plan;
}

}  // namespace sft
