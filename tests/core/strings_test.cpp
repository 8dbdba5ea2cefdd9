#include "core/strings.h"

#include <gtest/gtest.h>

#include <limits>

namespace sft {
namespace {

using Parts = std::vector<std::string>;

TEST(Strings, split_keeps_empty_parts) {
  EXPECT_EQ(split("a,b", ','), (Parts{"a", "b"}));
  EXPECT_EQ(split("", ','), (Parts{""}));
  EXPECT_EQ(split(",,", ','), (Parts{"", "", ""}));
  EXPECT_EQ(split("ab", ','), (Parts{"ab"}));
}

TEST(Strings, trim_and_lower) {
  EXPECT_EQ(trim(" \t a b\r\n"), "a b");
  EXPECT_EQ(trim("   "), "");
  EXPECT_EQ(trim(""), "");
  EXPECT_EQ(trim("\xc2\xa0x"), "\xc2\xa0x");  // bytes beyond ASCII stay
  EXPECT_EQ(to_lower("AbC-\xc3\x84"), "abc-\xc3\x84");
}

TEST(Strings, edit_distance_counts_each_kind_of_edit_once) {
  EXPECT_EQ(edit_distance("", ""), 0);
  EXPECT_EQ(edit_distance("abc", ""), 3);
  EXPECT_EQ(edit_distance("abc", "abd"), 1);
  EXPECT_EQ(edit_distance("abc", "abcd"), 1);
  EXPECT_EQ(edit_distance("abc", "ac"), 1);
  EXPECT_EQ(edit_distance("abcd", "abdc"), 1);  // neighbours swapped
  EXPECT_EQ(edit_distance("ca", "abc"), 3);     // the restricted form: no edit between a swap
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
}

TEST(Strings, nearest_finds_a_typo_and_nothing_far_away) {
  const Parts names{"learning_rate", "max_steps", "max_length"};
  EXPECT_EQ(nearest("learnign_rate", names), "learning_rate");
  EXPECT_EQ(nearest("max_step", names), "max_steps");
  EXPECT_EQ(nearest("dataset", names), "");
  EXPECT_EQ(nearest("", names), "");
  EXPECT_EQ(nearest("x", Parts{}), "");
}

TEST(Strings, with_commas) {
  EXPECT_EQ(with_commas(0), "0");
  EXPECT_EQ(with_commas(999), "999");
  EXPECT_EQ(with_commas(1000), "1,000");
  EXPECT_EQ(with_commas(1234567), "1,234,567");
  EXPECT_EQ(with_commas(-123), "-123");
  EXPECT_EQ(with_commas(-123456), "-123,456");
  EXPECT_EQ(with_commas(std::numeric_limits<long long>::min()), "-9,223,372,036,854,775,808");
}

TEST(Strings, human_bytes) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes(1024.0 * 1024 * 1024), "1.0 GiB");
  EXPECT_EQ(human_bytes(5000.0 * 1024 * 1024 * 1024 * 1024), "5000.0 TiB");
}

TEST(Strings, human_seconds) {
  EXPECT_EQ(human_seconds(0.2), "0 s");
  EXPECT_EQ(human_seconds(59.6), "1 min 0 s");
  EXPECT_EQ(human_seconds(4350), "1 h 12 min");
  EXPECT_EQ(human_seconds(200000), "2 d 7 h");
}

TEST(Strings, human_seconds_of_an_endless_or_unknown_time) {
  EXPECT_EQ(human_seconds(std::numeric_limits<double>::infinity()), "?");
  EXPECT_EQ(human_seconds(std::numeric_limits<double>::quiet_NaN()), "?");
}

}  // namespace
}  // namespace sft
