#include "ops/scaled_sum.h"

#include <gtest/gtest.h>

#include "support/op_case.h"

namespace sft::testing {
namespace {

TEST(ScaledSum, values_and_gradients) {
  for (const int64_t n : {33, 64}) {
    OpCase c;
    Operand factor = frozen({1}, DType::f32, 3);
    factor.wide = true;
    c.operands = {activation({5, n}, 1), activation({5, n}, 2), factor};
    c.build = [](Program& p, const std::vector<Value>& in) {
      return std::vector{scaled_sum(p, in[0], in[1], in[2])};
    };
    c.reference = [](const std::vector<Numbers>& in) {
      Numbers y(in[0].size());
      for (size_t i = 0; i < y.size(); ++i) {
        y[i] = in[2][0] * (in[0][i] + in[1][i]);
      }
      return std::vector<Numbers>{y};
    };
    check_op(c);
  }
}

}  // namespace
}  // namespace sft::testing
