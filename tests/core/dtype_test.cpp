#include "core/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace sft {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The value of a 16-bit float from its fields, by the formula of the format.
double decode(uint16_t bits, int mantissa_bits) {
  const int exponent_bits = 15 - mantissa_bits;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = (bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1) {
    return mantissa == 0 ? sign * kInfinity : std::numeric_limits<double>::quiet_NaN();
  }
  const double fraction = std::ldexp(mantissa, -mantissa_bits);
  return sign * (exponent == 0 ? std::ldexp(fraction, 1 - bias)
                               : std::ldexp(1.0 + fraction, exponent - bias));
}

TEST(Float16, every_value_survives_the_way_there_and_back) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const Float16 x{static_cast<uint16_t>(bits)};
    const double expected = decode(x.bits, 10);
    const float value = to_float(x);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      ASSERT_TRUE(std::isnan(to_float(to_float16(value)))) << bits;
      continue;
    }
    ASSERT_EQ(value, expected) << bits;
    ASSERT_EQ(std::signbit(value), (bits & 0x8000) != 0) << bits;
    ASSERT_EQ(to_float16(value).bits, x.bits);
  }
}

TEST(BFloat16, every_value_survives_the_way_there_and_back) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const BFloat16 x{static_cast<uint16_t>(bits)};
    const double expected = decode(x.bits, 7);
    const float value = to_float(x);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      ASSERT_TRUE(std::isnan(to_float(to_bfloat16(value)))) << bits;
      continue;
    }
    ASSERT_EQ(value, expected) << bits;
    ASSERT_EQ(to_bfloat16(value).bits, x.bits);
  }
}

// Between two neighbours: the middle goes to the even one, and a hair beside it to the nearer.
template <class Half, class Convert>
void check_rounding(Convert convert, uint16_t infinity) {
  for (uint32_t low = 0; low + 1 < infinity; ++low) {
    const float a = to_float(Half{static_cast<uint16_t>(low)});
    const float b = to_float(Half{static_cast<uint16_t>(low + 1)});
    const auto middle = static_cast<float>((double{a} + double{b}) / 2.0);
    const uint32_t even = low + (low & 1U);
    ASSERT_EQ(convert(middle).bits, even) << low;
    ASSERT_EQ(convert(-middle).bits, even | 0x8000U) << low;
    ASSERT_EQ(convert(std::nextafter(middle, 0.0F)).bits, low) << low;
    ASSERT_EQ(convert(std::nextafter(middle, kInfinity)).bits, low + 1) << low;
  }
}

TEST(Float16, rounds_to_nearest_and_ties_to_even) {
  check_rounding<Float16>([](float x) { return to_float16(x); }, 0x7c00);
}

TEST(BFloat16, rounds_to_nearest_and_ties_to_even) {
  check_rounding<BFloat16>([](float x) { return to_bfloat16(x); }, 0x7f80);
}

TEST(Float16, what_is_too_large_becomes_infinite) {
  EXPECT_EQ(to_float16(65519.996F).bits, 0x7bff);  // the largest finite value
  EXPECT_EQ(to_float16(65520.0F).bits, 0x7c00);
  EXPECT_EQ(to_float16(-1e30F).bits, 0xfc00);
  EXPECT_EQ(to_float16(kInfinity).bits, 0x7c00);
  EXPECT_EQ(to_float16(1e-30F).bits, 0);
  EXPECT_EQ(to_float16(-1e-30F).bits, 0x8000);
}

TEST(BFloat16, the_largest_float_becomes_infinite) {
  EXPECT_EQ(to_bfloat16(std::numeric_limits<float>::max()).bits, 0x7f80);
  EXPECT_EQ(to_bfloat16(std::bit_cast<float>(0x7f7f7fffU)).bits, 0x7f7f);
}

TEST(DType, names_go_both_ways) {
  for (const DType t : {DType::f32, DType::f16, DType::bf16, DType::i32, DType::i64, DType::u8}) {
    EXPECT_EQ(parse_dtype(name_of(t)), t);
    EXPECT_GT(size_of(t), 0U);
  }
  EXPECT_EQ(parse_dtype("BF16"), DType::bf16);
  EXPECT_EQ(parse_dtype("float64"), std::nullopt);
  EXPECT_EQ(parse_dtype(""), std::nullopt);
}

}  // namespace
}  // namespace sft
