#include "text/unicode.h"

#include <gtest/gtest.h>

namespace sft {
namespace {

TEST(Unicode, EncodesAndDecodesEveryCharacter) {
  for (uint32_t code = 1; code < 0x110000; ++code) {
    if (code >= 0xD800 && code < 0xE000) {
      continue;
    }
    std::string text;
    append_utf8(text, code);
    ASSERT_EQ(find_invalid_utf8(text), std::string::npos) << code;
    const DecodedChar c = decode_utf8(text.data());
    ASSERT_EQ(c.code, code);
    ASSERT_EQ(c.size, text.size());
    ASSERT_EQ(decode_utf8_before(text, text.size()).code, code);
  }
}

TEST(Unicode, FindsTheFirstInvalidByte) {
  EXPECT_EQ(find_invalid_utf8("abc"), std::string::npos);
  EXPECT_EQ(find_invalid_utf8("ab\xFFz"), 2u);
  EXPECT_EQ(find_invalid_utf8("\xC3\xA9\xC3"), 2u);
  EXPECT_EQ(find_invalid_utf8("a\xED\xA0\x80"), 1u);     // a surrogate
  EXPECT_EQ(find_invalid_utf8("\xC0\x80"), 0u);          // too long a form
  EXPECT_EQ(find_invalid_utf8("\xF4\x90\x80\x80"), 0u);  // above U+10FFFF
}

TEST(Unicode, ReplacesInvalidParts) {
  const auto lossy = [](std::string_view bytes) {
    std::string out;
    append_lossy_utf8(out, bytes);
    return out;
  };
  EXPECT_EQ(lossy("a\xE4\xBD\xA0"), "a\xE4\xBD\xA0");
  EXPECT_EQ(lossy("a\xE4\xBD"), "a\xEF\xBF\xBD");  // one mark for a part that began well
  EXPECT_EQ(lossy("\x80\x80z"), "\xEF\xBF\xBD\xEF\xBF\xBDz");
}

TEST(Unicode, KnowsAnIncompleteTail) {
  EXPECT_EQ(incomplete_utf8_tail("abc"), 0u);
  EXPECT_EQ(incomplete_utf8_tail("a\xF0\x9F\x91"), 3u);
  EXPECT_EQ(incomplete_utf8_tail("a\xF0\x9F\x91\x8D"), 0u);
  EXPECT_EQ(incomplete_utf8_tail("a\xE4"), 1u);
  EXPECT_EQ(incomplete_utf8_tail("a\xC0"), 0u);  // can never become a character
}

TEST(Unicode, ClassesOfCharacters) {
  const uint16_t* classes = char_classes();
  EXPECT_TRUE(classes['a'] & kLowerLetter);
  EXPECT_TRUE(classes[0x4E2D] & kOtherLetter);
  EXPECT_TRUE(classes[0x1C89] & kUpperLetter);  // new in Unicode 16
  EXPECT_TRUE(classes[0x3000] & kSpace);
  EXPECT_FALSE(classes[0x180E] & kSpace);
  EXPECT_TRUE(classes[0xBC] & kNumber);
  EXPECT_FALSE(classes[0xBC] & kDigit);
  EXPECT_TRUE(classes['$'] & kPunctuation);
}

}  // namespace
}  // namespace sft
