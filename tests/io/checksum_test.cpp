#include "io/checksum.h"

#include <gtest/gtest.h>

#include <string>

namespace sft {
namespace {

TEST(Checksum, GivesThePublishedCheckValue) {
  const std::string digits = "123456789";
  EXPECT_EQ(crc32c(0, digits.data(), 9), 0xE3069283U);
  EXPECT_EQ(crc32c_portable(0, digits.data(), 9), 0xE3069283U);
  EXPECT_EQ(crc32c(crc32c(0, digits.data(), 4), digits.data() + 4, 5), 0xE3069283U);
}

TEST(Checksum, InstructionAndTableAgreeAtEveryLengthAndPlace) {
  std::string text(257, '\0');
  for (size_t i = 0; i < text.size(); ++i) {
    text[i] = static_cast<char>(i * 37 + i / 7);
  }
  for (size_t begin = 0; begin < 9; ++begin) {
    for (size_t n = 0; n + begin <= text.size(); ++n) {
      ASSERT_EQ(crc32c(1, text.data() + begin, n), crc32c_portable(1, text.data() + begin, n));
    }
  }
}

TEST(Checksum, OfTwoPartsIsThatOfTheWhole) {
  std::string text(3000, '\0');
  for (size_t i = 0; i < text.size(); ++i) {
    text[i] = static_cast<char>(i * 101 + i / 13);
  }
  for (size_t first = 0; first <= text.size(); first += 37) {
    const size_t second = text.size() - first;
    ASSERT_EQ(crc32c_joined(crc32c(0, text.data(), first), crc32c(0, text.data() + first, second),
                            second),
              crc32c(0, text.data(), text.size()));
  }
}

}  // namespace
}  // namespace sft
