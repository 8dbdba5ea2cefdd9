#include "text/word_scanner.h"

#include <gtest/gtest.h>

#include <random>

#include "text/pattern.h"
#include "text/unicode.h"
#include "text/word_regexes.h"

namespace sft {
namespace {

std::string random_text(std::mt19937& rng) {
  static const std::vector<std::string> parts = {" ",
                                                 "  ",
                                                 "\n",
                                                 "\r\n",
                                                 "\t",
                                                 "\xC2\xA0",
                                                 "\xE3\x80\x80",
                                                 "a",
                                                 "Bc",
                                                 "\xC3\xA9",
                                                 "\xE4\xB8\xAD",
                                                 "'s",
                                                 "'LL",
                                                 "'\xC5\xBF",
                                                 "'v",
                                                 "''",
                                                 "1",
                                                 "23",
                                                 "\xC2\xBC",
                                                 "\xD9\xA3",
                                                 ".",
                                                 "!?",
                                                 "-",
                                                 "\xF0\x9F\x91\x8D",
                                                 "\xCC\x81",
                                                 "_",
                                                 "\xE2\x80\x8B",
                                                 "\xC2\x85",
                                                 "\xE2\x80\xA8",
                                                 "\x1C",
                                                 "AB",
                                                 "/",
                                                 "\xCA\xB0",
                                                 "\xC7\x85",
                                                 "\xE0\xA4\x83"};
  std::string text;
  for (int n = static_cast<int>(rng() % 12); n >= 0; --n) {
    text += parts[rng() % parts.size()];
  }
  return text;
}

TEST(WordScanner, CutsWhereTheRegularExpressionDoes) {
  std::mt19937 rng(5);
  for (const std::string_view regex :
       {kGpt2Regex, kQwen2Regex, kQwen35Regex, kLlama3Regex, kCl100kRegex, kCl100kPossessiveRegex,
        kO200kRegex, kTekkenRegex}) {
    const auto scanner = WordScanner::recognise(regex);
    ASSERT_NE(scanner, nullptr);
    const Pattern pattern = Pattern::regex(regex, "test");
    for (int i = 0; i < 20000; ++i) {
      const std::string text = random_text(rng);
      std::vector<Span> words;
      scanner->scan(text.data(), 0, static_cast<uint32_t>(text.size()), words);
      std::vector<PatternPart> parts;
      pattern.find(text, 0, parts);
      std::vector<Span> expected;
      for (const PatternPart& part : parts) {
        ASSERT_TRUE(part.matched) << text;
        expected.push_back(part.span);
      }
      ASSERT_EQ(words, expected) << "<" << text << "> with " << regex;
    }
  }
}

TEST(WordScanner, RecognisesNothingElse) { EXPECT_EQ(WordScanner::recognise("\\s+"), nullptr); }

}  // namespace
}  // namespace sft
