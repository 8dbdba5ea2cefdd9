#include "ops/gated_activation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "ops/activation.h"
#include "support/op_case.h"

namespace sft::testing {
namespace {

OpCase gated_case(int64_t tokens, int64_t intermediate, Activation kind, double spread) {
  OpCase c;
  c.operands = {activation({tokens, 2 * intermediate}, 1, spread)};
  c.build = [=](Program& p, const std::vector<Value>& in) {
    return std::vector{gated_activation(p, in[0], kind)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    Numbers y;
    const auto n = static_cast<size_t>(intermediate);
    for (size_t row = 0; row < in[0].size(); row += 2 * n) {
      for (size_t i = 0; i < n; ++i) {
        y.push_back(activate(in[0][row + i], kind) * in[0][row + n + i]);
      }
    }
    return std::vector<Numbers>{y};
  };
  return c;
}

class GatedActivation : public ::testing::TestWithParam<Activation> {};

TEST_P(GatedActivation, values_and_gradients) {
  for (const int64_t intermediate : {1, 3, 16, 65}) {
    SCOPED_TRACE(intermediate);
    check_op(gated_case(6, intermediate, GetParam(), 1.0));
  }
}

TEST_P(GatedActivation, wide_inputs) {
  check_op(gated_case(6, 40, GetParam(), 10.0));
  check_op(gated_case(6, 40, GetParam(), 1000.0));
}

// One gate at a time with up = 1, so that each value and gradient is seen at its own size.
TEST_P(GatedActivation, far_from_zero) {
  for (const double x : {0.0, 1e-10, -1e-10, 0.5, -5.0, 9.0, -9.0, 20.0, -20.0, 87.0, -87.0, 89.0,
                         -89.0, 1e4, -1e4, 1e10, -1e10}) {
    SCOPED_TRACE(x);
    OpCase c = gated_case(1, 1, GetParam(), 1.0);
    c.operands[0].values = {static_cast<float>(x), 1.0};
    const OpResult r = run_op(c);
    const double want = activate(static_cast<float>(x), GetParam());
    const double slack = 1e-6 * std::min(1.0 + std::abs(x), 10.0);
    EXPECT_NEAR(r.outputs[0][0], want, 1e-6 * std::abs(want) + slack);
    ASSERT_TRUE(std::isfinite(r.gradients[0][0]));
    ASSERT_TRUE(std::isfinite(r.gradients[0][1]));
  }
}

// What is no number, or infinite, is not made finite on the way.
TEST_P(GatedActivation, hides_no_broken_value) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float bad : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
    for (const size_t at : {0, 20, 36}) {
      OpCase c = gated_case(1, 37, GetParam(), 1.0);
      c.operands[0].values[at] = bad;
      EXPECT_FALSE(std::isfinite(run_op(c).outputs[0][at])) << bad << " in gate " << at;
      c = gated_case(1, 37, GetParam(), 1.0);
      c.operands[0].values[37 + at] = bad;
      EXPECT_FALSE(std::isfinite(run_op(c).outputs[0][at])) << bad << " in up " << at;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, GatedActivation,
                         ::testing::Values(Activation::silu, Activation::gelu_tanh),
                         [](const auto& kind) {
                           return kind.param == Activation::silu ? "silu" : "gelu_tanh";
                         });

}  // namespace
}  // namespace sft::testing
