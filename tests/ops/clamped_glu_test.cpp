#include "ops/clamped_glu.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "support/op_case.h"

namespace sft::testing {
namespace {

double clamped(double gate, double up, const ClampedGlu& form) {
  const double limit = form.limit;
  const double g = std::min(gate, limit);
  const double u = std::clamp(up, -limit, limit);
  return (u + 1.0) * g / (1.0 + std::exp(-double{form.alpha} * g));
}

OpCase glu_case(int64_t rows, int64_t intermediate, const ClampedGlu& form, double spread) {
  OpCase c;
  c.operands = {activation({rows, 2 * intermediate}, 1, spread)};
  for (double& x : c.operands[0].values) {  // away from where the gradient jumps, in 16 bits too
    if (std::abs(std::abs(x) - double{form.limit}) < 0.02 * form.limit) {
      x = static_cast<float>(1.05 * x);
    }
  }
  c.build = [=](Program& p, const std::vector<Value>& in) {
    return std::vector{clamped_glu(p, in[0], form)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    Numbers y;
    for (size_t i = 0; i < in[0].size(); i += 2) {
      y.push_back(clamped(in[0][i], in[0][i + 1], form));
    }
    return std::vector<Numbers>{y};
  };
  return c;
}

TEST(ClampedGlu, values_and_gradients) {
  for (const int64_t intermediate : {1, 3, 16, 65}) {
    SCOPED_TRACE(intermediate);
    check_op(glu_case(6, intermediate, {}, 1.0));
    check_op(glu_case(6, intermediate, {1.3F, 0.5F}, 1.0));
  }
  check_op(glu_case(3, 2880, {}, 4.0));
}

// One pair at a time, so that each value and gradient is seen at its own size. At a limit itself
// the gradient goes through, beyond it none does.
TEST(ClampedGlu, limits) {
  const ClampedGlu form{1.702F, 7.0F};
  for (const double gate : {-1e10, -90.0, -7.5, -7.0, 0.0, 6.5, 7.0, 7.5, 1e10}) {
    for (const double up : {-1e10, -7.5, -7.0, -1.0, 0.0, 7.0, 7.5, 1e10}) {
      OpCase c = glu_case(1, 1, form, 1.0);
      c.operands[0].values = {gate, up};
      for (const OpRun& run : runs_everywhere()) {
        const OpResult r = run_op(c, run);
        const double want = clamped(gate, up, form);
        EXPECT_NEAR(r.outputs[0][0], want, 1e-5 * std::abs(want) + 1e-6) << gate << " " << up;
        const bool shut = gate < -60.0;  // the sigmoid is next to nothing
        EXPECT_EQ(std::abs(r.gradients[0][0]) < 1e-15F, gate > 7.0 || up == -1.0 || shut)
            << gate << " " << up;
        EXPECT_EQ(std::abs(r.gradients[0][1]) < 1e-15F, std::abs(up) > 7.0 || gate == 0.0 || shut)
            << gate << " " << up;
        EXPECT_TRUE(std::isfinite(r.gradients[0][0]) && std::isfinite(r.gradients[0][1]));
      }
    }
  }
}

TEST(ClampedGlu, hides_no_broken_value) {
  constexpr float kBroken = std::numeric_limits<float>::quiet_NaN();
  for (const size_t at : {0, 1, 40, 73}) {
    OpCase c = glu_case(1, 37, {}, 1.0);
    c.operands[0].values[at] = kBroken;
    for (const OpRun& run : runs_everywhere()) {
      EXPECT_FALSE(std::isfinite(run_op(c, run).outputs[0][at / 2])) << at;
    }
  }
}

}  // namespace
}  // namespace sft::testing
