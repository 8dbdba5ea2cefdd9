#include "formats/block8.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "core/error.h"

namespace sft::block8 {

namespace {

// Seven decades; decade i has the middles of 2^i (without a sign: 2^(i+1)) equal parts of [0.1, 1].
std::vector<float> values_of(bool with_sign) {
  std::vector<float> values{0.0F, 1.0F};
  for (int decade = 0; decade < 7; ++decade) {
    const int parts = 1 << (decade + (with_sign ? 0 : 1));
    const float width = (1.0F - 0.1F) / static_cast<float>(parts);
    // Counted from the nearer end and rounded once, as torch.linspace does.
    const auto border = [&](int i) {
      const int from_end = parts - i;
      return static_cast<float>(i < (parts + 1) / 2 ? double{0.1F} + double{width} * i
                                                    : 1.0 - double{width} * from_end);
    };
    const auto scale = static_cast<float>(std::pow(10.0, decade - 6));
    for (int i = 0; i < parts; ++i) {
      const float middle = (border(i) + border(i + 1)) / 2.0F * scale;
      values.push_back(middle);
      if (with_sign) {
        values.push_back(-middle);
      }
    }
  }
  SFT_ASSERT(values.size() == kCodes);
  std::ranges::sort(values);
  return values;
}

Book book(bool with_sign) {
  constexpr float kLeast = std::numeric_limits<float>::denorm_min();
  Book b{};
  std::ranges::copy(values_of(with_sign), b.values);
  for (size_t c = 0; c + 1 < kCodes; ++c) {
    const float middle = (b.values[c] + b.values[c + 1]) * 0.5F;
    b.borders[c] = c % 2 == 0 ? std::nextafter(middle, 2.0F) : middle;
    if (with_sign && b.values[c + 1] == 0.0F) {
      b.borders[c] = 0.0F;
    } else if (with_sign && b.values[c] == 0.0F) {
      b.borders[c] = kLeast;
    }
  }
  b.borders[kCodes - 1] = std::numeric_limits<float>::quiet_NaN();
  constexpr int kShift = 23 - kMantissa;
  for (int i = 0; i < kBuckets; ++i) {
    const auto first = static_cast<uint32_t>(kFirstBucket + i) << kShift;
    const uint32_t last = first + (1U << kShift) - 1;
    // What is below all buckets is in the first of them.
    const float low = i == 0 ? 0.0F : std::bit_cast<float>(first);
    const float high = i == kBuckets - 1 ? 1.0F : std::bit_cast<float>(last);
    const auto code = [&](float x) {
      return static_cast<uint8_t>(
          std::ranges::count_if(b.borders, [x](float at) { return x >= at; }));
    };
    b.starts[i] = code(low);
    b.starts[kBuckets + i] = code(-high);
    SFT_ASSERT(code(high) <= code(low) + kSteps && code(-low) <= code(-high) + kSteps);
  }
  return b;
}

}  // namespace

std::array<Book, 2> books() { return {book(true), book(false)}; }

}  // namespace sft::block8
