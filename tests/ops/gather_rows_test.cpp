#include "ops/gather_rows.h"

#include <gtest/gtest.h>

#include "support/op_case.h"

namespace sft::testing {
namespace {

OpCase gather_case(int64_t tokens, int64_t width, const std::vector<int>& rows) {
  OpCase c;
  c.operands = {activation({tokens, width}, 1), indices(rows)};
  c.build = [](Program& p, const std::vector<Value>& in) {
    return std::vector{gather_rows(p, in[0], in[1])};
  };
  c.reference = [width](const std::vector<Numbers>& in) {
    Numbers y;
    for (const double row : in[1]) {
      const auto begin = in[0].begin() + static_cast<int64_t>(row) * width;
      if (row < 0) {
        y.resize(y.size() + static_cast<size_t>(width));
      } else {
        y.insert(y.end(), begin, begin + width);
      }
    }
    return std::vector<Numbers>{y};
  };
  c.tolerance = 0.0;
  return c;
}

TEST(GatherRows, values_and_gradients) {
  check_op(gather_case(5, 7, {2}));
  check_op(gather_case(5, 7, {4, 0, 1}));
  check_op(gather_case(6, 16, {0, 1, 2, 3, 4, 5}));
  check_op(gather_case(70, 24, {3, 68, -1, 17, -1, -1}));
}

TEST(GatherRows, rows_that_are_not_named_have_a_gradient_of_zero) {
  const OpResult r = run_op(gather_case(6, 3, {4, -1, 1}));
  for (size_t i = 0; i < r.gradients[0].size(); ++i) {
    EXPECT_EQ(r.gradients[0][i] != 0.0F, i / 3 == 4 || i / 3 == 1) << i;
  }
  EXPECT_EQ(std::vector<float>(r.outputs[0].begin() + 3, r.outputs[0].begin() + 6),
            std::vector<float>(3, 0.0F));
}

TEST(GatherRows, no_row_at_all) {
  const OpResult r = run_op(gather_case(4, 3, {-1, -1}));
  EXPECT_EQ(r.outputs[0], std::vector<float>(6, 0.0F));
  EXPECT_EQ(r.gradients[0], std::vector<float>(12, 0.0F));
}

}  // namespace
}  // namespace sft::testing
