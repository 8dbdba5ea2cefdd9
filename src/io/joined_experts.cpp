#include "io/joined_experts.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "core/error.h"
#include "core/numbers.h"

namespace sft {

namespace {

constexpr std::string_view kExperts = ".experts.";

struct Part {
  std::string_view name;    // behind an expert's number
  std::string_view tensor;  // what it is in
  int64_t part, parts;
};
constexpr std::array<Part, 3> kParts{{{".gate_proj.weight", "gate_up_proj", 0, 2},
                                      {".up_proj.weight", "gate_up_proj", 1, 2},
                                      {".down_proj.weight", "down_proj", 0, 1}}};

// The tensor of all `pieces`, which are of one size.
StreamedTensor joined(std::string name, int64_t parts, std::vector<StreamedTensor> pieces) {
  const StreamedTensor first = pieces.front();
  const auto count = static_cast<int64_t>(pieces.size());
  const uint64_t bytes = bytes_of(first.dtype, first.shape);
  SFT_ASSERT(std::ranges::all_of(pieces, [&](const StreamedTensor& piece) {
    return piece.dtype == first.dtype && piece.shape == first.shape;
  }));
  StreamedTensor whole{std::move(name),
                       first.dtype,
                       {count / parts, parts * first.shape[0], first.shape[1]},
                       nullptr};
  whole.fill = [pieces = std::move(pieces), bytes](uint64_t begin, std::span<std::byte> into) {
    while (!into.empty()) {
      const uint64_t at = begin % bytes;
      const auto n = static_cast<size_t>(std::min<uint64_t>(into.size(), bytes - at));
      pieces[begin / bytes].fill(at, into.first(n));
      into = into.subspan(n);
      begin += n;
    }
  };
  return whole;
}

}  // namespace

std::optional<Shape> ExpertPlace::shape_in(const Shape& joined) const {
  if (joined.rank() != 3 || joined[1] % parts != 0 || index >= joined[0] * parts) {
    return std::nullopt;
  }
  return Shape{joined[1] / parts, joined[2]};
}

std::optional<ExpertPlace> expert_place(std::string_view name) {
  const size_t found = name.find(kExperts);
  if (found == std::string_view::npos) {
    return std::nullopt;
  }
  const std::string_view block = name.substr(0, found + kExperts.size());
  int64_t expert = -1;
  const char* const end = name.data() + name.size();
  const auto [rest, status] = std::from_chars(name.data() + block.size(), end, expert);
  const std::string_view behind(rest, end);
  const auto* const part = std::ranges::find(kParts, behind, &Part::name);
  if (status != std::errc() || expert < 0 || expert > kMostCount || part == kParts.end()) {
    return std::nullopt;
  }
  return ExpertPlace{std::string(block).append(part->tensor), expert * part->parts + part->part,
                     part->parts};
}

std::vector<StreamedTensor> join_experts(
    std::vector<StreamedTensor> tensors,
    const std::function<bool(const std::string& tensor)>& is_joined) {
  std::vector<StreamedTensor> out;
  for (size_t i = 0; i < tensors.size();) {
    const auto place = expert_place(tensors[i].name);
    if (!place || !is_joined(place->tensor)) {
      out.push_back(std::move(tensors[i++]));
      continue;
    }
    std::vector<StreamedTensor> pieces;
    for (; i < tensors.size(); ++i) {
      const auto next = expert_place(tensors[i].name);
      if (!next || next->tensor != place->tensor) {
        break;
      }
      SFT_ASSERT(next->index == static_cast<int64_t>(pieces.size()));
      pieces.push_back(std::move(tensors[i]));
    }
    out.push_back(joined(place->tensor, place->parts, std::move(pieces)));
  }
  return out;
}

}  // namespace sft
