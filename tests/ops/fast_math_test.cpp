#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "ops/cpu/simd.h"

namespace sft::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Visits floats of every size and both signs up to `limit`.
template <class Visit>
void for_floats(float limit, Visit visit) {
  for (float x = 1e-30F; x < limit; x *= 1.0007F) {
    visit(x);
    visit(-x);
  }
  for (float x = -limit; x <= limit; x += limit * 3.1e-5F) {
    visit(x);
  }
  visit(0.0F);
  visit(-0.0F);
}

TEST(FastExp, within_two_units_of_the_last_place) {
  for_floats(87.0F, [](float x) {
    const double want = std::exp(double{x});
    ASSERT_NEAR(fast_exp(x) / want, 1.0, 2.0 * 0x1p-23) << x;
  });
  EXPECT_EQ(fast_exp(0.0F), 1.0F);
  EXPECT_EQ(fast_exp(-0.0F), 1.0F);
}

TEST(FastExp, beyond_its_range_stays_tiny_or_huge) {
  for (const float x : {-87.5F, -88.0F, -104.0F, -1e10F, -kInfinity}) {
    EXPECT_GE(fast_exp(x), 0.0F) << x;
    EXPECT_LE(fast_exp(x), 2e-38F) << x;
  }
  for (const float x : {88.5F, 1e10F, kInfinity}) {
    EXPECT_GE(fast_exp(x), 1e38F) << x;
  }
  EXPECT_TRUE(std::isnan(fast_exp(kNan)));
  EXPECT_TRUE(std::isnan(fast_exp(-kNan)));
}

TEST(FastExp, never_falls) {
  float before = 0.0F;
  for (float x = -90.0F; x < 90.0F; x += 0.003F) {
    const float now = fast_exp(x);
    ASSERT_GE(now, before) << x;
    before = now;
  }
}

TEST(FastSigmoid, over_the_whole_range) {
  for_floats(200.0F, [](float x) {
    const double want = 1.0 / (1.0 + std::exp(-double{x}));
    ASSERT_NEAR(fast_sigmoid(x), want, 4e-7 * want + 1e-37) << x;
  });
  EXPECT_EQ(fast_sigmoid(0.0F), 0.5F);
  EXPECT_EQ(fast_sigmoid(kInfinity), 1.0F);
  EXPECT_LE(fast_sigmoid(-kInfinity), 1e-37F);
  EXPECT_TRUE(std::isnan(fast_sigmoid(kNan)));
}

TEST(FastTanh, over_the_whole_range) {
  for_floats(100.0F, [](float x) { ASSERT_NEAR(fast_tanh(x), std::tanh(double{x}), 2.5e-7) << x; });
  EXPECT_EQ(fast_tanh(0.0F), 0.0F);
  EXPECT_EQ(fast_tanh(kInfinity), 1.0F);
  EXPECT_EQ(fast_tanh(-kInfinity), -1.0F);
  EXPECT_TRUE(std::isnan(fast_tanh(kNan)));
}

}  // namespace
}  // namespace sft::cpu
