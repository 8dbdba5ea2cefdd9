#include "core/rng.h"

#include <gtest/gtest.h>

#include <cmath>

namespace sft {
namespace {

// The known answers for philox4x32-10 that the paper's authors publish (Random123, kat_vectors).
TEST(Philox, known_answers) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(philox(0, 0, 0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox(~0ULL, ~0ULL, ~0ULL), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  // counter 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0, low words first
  EXPECT_EQ(philox(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Rng, uniform_is_in_range_and_even) {
  constexpr int kDraws = 100000;
  double sum = 0.0, square = 0.0;
  for (int i = 0; i < kDraws; ++i) {
    const float u = uniform(1, 2, static_cast<uint64_t>(i));
    ASSERT_GE(u, 0.0F);
    ASSERT_LT(u, 1.0F);
    sum += u;
    square += double{u} * u;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 0.004);
  EXPECT_NEAR(square / kDraws, 1.0 / 3.0, 0.004);
}

TEST(Rng, normal_has_the_moments_of_a_normal) {
  constexpr int kDraws = 100000;
  double moments[5] = {};
  for (int i = 0; i < kDraws; ++i) {
    const double x = normal(3, 4, static_cast<uint64_t>(i));
    ASSERT_TRUE(std::isfinite(x));
    for (int k = 1; k <= 4; ++k) {
      moments[k] += std::pow(x, k) / kDraws;
    }
  }
  EXPECT_NEAR(moments[1], 0.0, 0.015);
  EXPECT_NEAR(moments[2], 1.0, 0.02);
  EXPECT_NEAR(moments[3], 0.0, 0.04);
  EXPECT_NEAR(moments[4], 3.0, 0.12);
}

TEST(Rng, seed_stream_and_counter_all_matter) {
  EXPECT_NE(uniform(1, 0, 0), uniform(2, 0, 0));
  EXPECT_NE(uniform(1, 0, 0), uniform(1, 1, 0));
  EXPECT_NE(uniform(1, 0, 0), uniform(1, 0, 1));
  EXPECT_NE(uniform(1, 0, 0), uniform(uint64_t{1} << 32, 0, 0));
  EXPECT_EQ(normal(1, 2, 3), normal(1, 2, 3));
}

}  // namespace
}  // namespace sft
