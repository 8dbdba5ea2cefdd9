#include "data/find/split_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/error.h"
#include "core/numbers.h"
#include "core/strings.h"

namespace sft {

namespace {

Error no_slice(const std::string& text) {
  return Error("D009", fmt::format("\"{}\" is not a slice of a split", text))
      .hint("write train[:100], train[10%:20%], train[-50:], or a sum: train[:1%]+test");
}

struct Bound {
  int64_t value;
  bool percent;
};

// "", "-5", "1_000", "20%".
std::optional<Bound> read_bound(std::string_view text, const std::string& slice) {
  if (text.empty()) {
    return std::nullopt;
  }
  Bound bound{0, text.ends_with('%')};
  text.remove_suffix(bound.percent ? 1 : 0);
  std::string digits(text);
  std::erase(digits, '_');
  constexpr int64_t kMost = int64_t{1} << 53;
  const auto value = whole_number(digits, -kMost, kMost);
  if (!value) {
    throw no_slice(slice);
  }
  bound.value = *value;
  return bound;
}

struct Slice {
  std::optional<Bound> begin, end;
  bool percent = false;
  bool whole_percents = false;  // pct1_dropremainder: multiples of the rows in 1%
};

Slice read_slice(const std::string& text) {
  Slice slice;
  std::string_view rest = text;
  constexpr std::string_view kWhole = "(pct1_dropremainder)", kClosest = "(closest)";
  const bool rounded = rest.ends_with(')');
  if (rest.ends_with(kWhole)) {
    slice.whole_percents = true;
    rest.remove_suffix(kWhole.size());
  } else if (rest.ends_with(kClosest)) {
    rest.remove_suffix(kClosest.size());
  }
  const size_t colon = rest.find(':');
  if (!rest.starts_with('[') || !rest.ends_with(']') || colon == std::string_view::npos) {
    throw no_slice(text);
  }
  slice.begin = read_bound(rest.substr(1, colon - 1), text);
  slice.end = read_bound(rest.substr(colon + 1, rest.size() - colon - 2), text);
  // A per cent sign at one end counts for both.
  slice.percent = (slice.begin && slice.begin->percent) || (slice.end && slice.end->percent);
  for (const auto& bound : {slice.begin, slice.end}) {
    if (slice.percent && bound && std::abs(bound->value) > 100) {
      throw Error("D009", fmt::format("\"{}\" goes beyond 100%", text));
    }
  }
  if (rounded && !slice.percent) {
    throw no_slice(text);
  }
  return slice;
}

int64_t rows_of(const Bound& bound, const Slice& slice, int64_t n) {
  int64_t rows = bound.value;
  if (slice.percent && slice.whole_percents) {
    rows = bound.value * (n / 100);
  } else if (slice.percent) {
    // Python's round: halves go to the even neighbour.
    rows = static_cast<int64_t>(std::nearbyint(static_cast<double>(bound.value * n) / 100.0));
  }
  return std::clamp<int64_t>(rows < 0 ? n + rows : rows, 0, n);
}

}  // namespace

std::vector<SplitTerm> split_terms(const std::string& spec) {
  std::vector<SplitTerm> terms;
  for (const std::string& part : split(spec, '+')) {
    const std::string text(trim(part));
    const size_t slice = std::min(text.find('['), text.size());
    terms.push_back({text.substr(0, slice), text.substr(slice)});
    if (terms.back().split.empty()) {
      throw no_slice(spec);
    }
    if (slice < text.size()) {
      read_slice(terms.back().slice);
    }
  }
  return terms;
}

RowRange slice_range(const std::string& text, int64_t n) {
  if (text.empty()) {
    return {0, n};
  }
  const Slice slice = read_slice(text);
  if (slice.whole_percents && n < 100) {
    throw Error("D009", fmt::format("{} needs at least 100 rows, there are {}", text, n))
        .hint("leave (pct1_dropremainder) out");
  }
  const int64_t begin = slice.begin ? rows_of(*slice.begin, slice, n) : 0;
  const int64_t end = slice.end ? rows_of(*slice.end, slice, n) : n;
  return {begin, std::max(begin, end)};
}

}  // namespace sft
