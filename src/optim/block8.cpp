#include "optim/block8.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace sft::block8 {

namespace {

// Seven decades; decade i has the middles of 2^i (without a sign: 2^(i+1)) equal parts of [0.1, 1].
std::vector<float> map(bool with_sign) {
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

}  // namespace

std::vector<float> maps() {
  std::vector<float> both = map(true);
  const std::vector<float> second = map(false);
  both.insert(both.end(), second.begin(), second.end());
  return both;
}

}  // namespace sft::block8
