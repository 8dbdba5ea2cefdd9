#include "core/numbers.h"
#include "core/json.h"

#include <gtest/gtest.h>

namespace sft {
namespace {

TEST(Numbers, a_whole_number_is_all_of_the_text) {
  EXPECT_EQ(whole_number("42"), 42);
  EXPECT_EQ(whole_number("+42"), 42);
  EXPECT_EQ(whole_number("-42"), -42);
  EXPECT_EQ(whole_number("9223372036854775807"), INT64_MAX);
  for (const char* bad : {"", "+", "-", "+-1", "--1", " 1", "1 ", "1.0", "0x10", "1e3", "1_000",
                          "9223372036854775808", "nan"}) {
    EXPECT_FALSE(whole_number(bad)) << bad;
  }
  EXPECT_FALSE(whole_number("5", 6, 9));
  EXPECT_FALSE(whole_number("10", 6, 9));
  EXPECT_EQ(whole_number("9", 6, 9), 9);
}

TEST(Numbers, a_real_number_is_finite) {
  EXPECT_EQ(real_number("2e-5"), 2e-5);
  EXPECT_EQ(real_number(".5"), 0.5);
  EXPECT_EQ(real_number("1e-999"), 0.0);
  for (const char* bad : {"", "nan", "inf", "-inf", "infinity", "1e999", "1,5", "1 ", "x"}) {
    EXPECT_FALSE(real_number(bad)) << bad;
  }
}

TEST(Numbers, what_no_number_can_hold_is_told_from_what_is_none) {
  EXPECT_TRUE(is_beyond_numbers("18446744073709551616", true));
  EXPECT_TRUE(is_beyond_numbers("1e400", false));
  EXPECT_FALSE(is_beyond_numbers("1e-400", false));
  EXPECT_FALSE(is_beyond_numbers("7", true));
  EXPECT_FALSE(is_beyond_numbers("word", true));
  EXPECT_FALSE(is_beyond_numbers("1e400", true));
}

TEST(Numbers, of_json_by_kind_and_range) {
  EXPECT_EQ(json_whole(Json(8), 0, 10), 8);
  EXPECT_EQ(json_whole(Json(8.0), 0, 10), 8);
  for (const char* bad : {"3.9", "-1", "11", "4294967297", "18446744073709551615", "1e300", "true",
                          "\"8\"", "null", "[8]", "{}"}) {
    EXPECT_FALSE(json_whole(Json::parse(bad), 0, 10)) << bad;
  }
  EXPECT_EQ(json_real(Json(1), 0, 1), 1.0);
  for (const char* bad : {"1e300", "-0.5", "\"1\"", "null", "true"}) {
    EXPECT_FALSE(json_real(Json::parse(bad), 0, 1)) << bad;
  }
  EXPECT_FALSE(json_real(Json(std::numeric_limits<double>::quiet_NaN()), 0, 1));
}

TEST(Numbers, products_are_whole_or_nothing) {
  EXPECT_EQ(product({kMostCount, kMostCount}), kMostCount * kMostCount);
  EXPECT_FALSE(product({kMostCount, kMostCount, 4}));
  EXPECT_EQ(product({}), 1);
}

}  // namespace
}  // namespace sft
