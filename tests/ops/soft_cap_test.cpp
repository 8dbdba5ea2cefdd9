#include "ops/soft_cap.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/op_case.h"

namespace sft::testing {
namespace {

TEST(SoftCap, bounds_and_leaves_small_values) {
  OpCase c;
  c.operands = {activation({3, 21}, 1, 4.0)};
  c.build = [](Program& p, const std::vector<Value>& in) {
    return std::vector{soft_cap(p, in[0], 2.5F)};
  };
  const OpResult r = run_op(c, {.training = false});
  for (size_t i = 0; i < r.outputs[0].size(); ++i) {
    EXPECT_NEAR(r.outputs[0][i], 2.5 * std::tanh(c.operands[0].values[i] / 2.5), 1e-6);
  }
}

TEST(SoftCap, a_cap_of_zero_is_none) {
  Program p(Program::Purpose::inference, Recompute::none);
  const Value x = p.input("x", {2, 2}, DType::f32);
  EXPECT_EQ(soft_cap(p, x, 0.0F), x);
}

}  // namespace
}  // namespace sft::testing
