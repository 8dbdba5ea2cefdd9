#include "core/printable.h"

#include <gtest/gtest.h>

#include <string>

namespace sft {
namespace {

TEST(Printable, text_stays_and_control_bytes_are_spelled_out) {
  const std::string text = "a line\n\ttab, caf\xC3\xA9 \xE4\xB8\x96 \xF0\x9F\x99\x82";
  EXPECT_EQ(printable(text), text);
  EXPECT_EQ(printable("\x1b[2J\x1b]0;x\x07"), "\\x1b[2J\\x1b]0;x\\x07");
  EXPECT_EQ(printable("a\rb\x7f" + std::string(1, '\0')), "a\\x0db\\x7f\\x00");
  EXPECT_EQ(printable("\xC2\x9B"
                      "31m\xC2\xA0"),
            "\\x9b31m\xC2\xA0");
  EXPECT_EQ(printable("\xff\x9b\xC3"), "\\xff\\x9b\\xc3");
}

TEST(Printable, no_byte_of_any_text_is_a_control_byte) {
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      const std::string shown = printable(std::string{static_cast<char>(a), static_cast<char>(b)});
      for (const char c : shown) {
        EXPECT_TRUE(static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t');
        EXPECT_NE(c, 0x7F);
      }
    }
  }
}

}  // namespace
}  // namespace sft
