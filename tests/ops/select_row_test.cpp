#include "ops/select_row.h"

#include <gtest/gtest.h>

#include "support/op_case.h"

namespace sft::testing {
namespace {

TEST(SelectRow, takes_the_row_it_is_told) {
  for (const int row : {0, 2, 4}) {
    OpCase c;
    c.operands = {frozen({5, 7}, DType::f32, 1), indices({row})};
    c.build = [](Program& p, const std::vector<Value>& in) {
      return std::vector{select_row(p, in[0], in[1])};
    };
    c.reference = [](const std::vector<Numbers>& in) {
      const auto begin = in[0].begin() + static_cast<int64_t>(in[1][0]) * 7;
      return std::vector<Numbers>{Numbers(begin, begin + 7)};
    };
    c.tolerance = 0.0;
    check_op(c);
  }
}

}  // namespace
}  // namespace sft::testing
