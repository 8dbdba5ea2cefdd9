#include "text/word_scanner.h"

#include <gtest/gtest.h>

#include <random>

#include "text/aligned_text.h"
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
      Budget budget = tokenizer_budget(text.size(), "a test");
      pattern.find(text, 0, budget, parts);
      std::vector<Span> expected;
      for (const PatternPart& part : parts) {
        ASSERT_TRUE(part.matched) << text;
        expected.push_back(part.span);
      }
      ASSERT_EQ(words, expected) << "<" << text << "> with " << regex;
    }
  }
}

std::string random_deepseek_text(std::mt19937& rng) {
  static const std::vector<std::string> parts = {"\xE4\xB8\x80",
                                                 "\xE9\xBE\xA5",
                                                 "\xE9\xBE\xA6",
                                                 "\xE3\x81\x80",
                                                 "\xE3\x83\xBB",
                                                 "\xE3\x82\x9B",
                                                 "\xE3\x82\xA0",
                                                 "\xE3\x82\x99",
                                                 "\xE3\x83\xBF",
                                                 "\xE3\x84\x80",
                                                 "\xE3\x80\x82",
                                                 "\xE3\x80\x87",
                                                 "$",
                                                 "+",
                                                 "\\",
                                                 "]",
                                                 "^",
                                                 "\xC2\xA9",
                                                 "\x01",
                                                 "\x7F",
                                                 "\xEE\x80\x80",
                                                 "\xC2\xAD",
                                                 "1234",
                                                 "don't",
                                                 "x",
                                                 "\xE2\x82\xAC"};
  std::string text;
  for (int n = static_cast<int>(rng() % 6); n >= 0; --n) {
    text += rng() % 2 == 0 ? parts[rng() % parts.size()] : random_text(rng);
  }
  return text;
}

// The words that splits leave, each by one of the expressions on what the one before left.
std::vector<Span> cut_in_turn(std::span<const Pattern> patterns, const std::string& text) {
  std::vector<Span> words = {{0, static_cast<uint32_t>(text.size())}};
  for (const Pattern& pattern : patterns) {
    std::vector<PatternPart> parts;
    for (const Span word : words) {
      Budget budget = tokenizer_budget(text.size(), "a test");
      pattern.find(std::string_view(text).substr(word.begin, word.size()), word.begin, budget,
                   parts);
    }
    words.clear();
    for (const PatternPart& part : parts) {
      words.push_back(part.span);
    }
  }
  return words;
}

TEST(WordScanner, CutsWhereASequenceOfExpressionsDoes) {
  std::mt19937 rng(6);
  const auto scanner = WordScanner::recognise_sequence(kDeepSeekRegexes);
  ASSERT_NE(scanner, nullptr);
  std::vector<Pattern> patterns;
  for (const std::string_view regex : kDeepSeekRegexes) {
    patterns.push_back(Pattern::regex(regex, "test"));
  }
  const auto check = [&](const std::string& text) {
    std::vector<Span> words;
    scanner->scan(text.data(), 0, static_cast<uint32_t>(text.size()), words);
    ASSERT_EQ(words, cut_in_turn(patterns, text)) << "<" << text << ">";
  };
  for (int i = 0; i < 20000; ++i) {
    check(random_deepseek_text(rng));
  }
  for (uint32_t code = 1; code < 0x110000; code += code < 0x3400 ? 1 : 13) {
    if (code < 0xD800 || code >= 0xE000) {
      std::string text = " ";
      append_utf8(text, code);
      check(text + "a");
    }
  }
}

TEST(WordScanner, ASequenceIsRecognisedWhole) {
  std::vector<std::string_view> regexes(std::begin(kDeepSeekRegexes), std::end(kDeepSeekRegexes));
  std::string line_ends(regexes[2]);
  for (size_t at; (at = line_ends.find("\\r\\n")) != std::string::npos;) {
    line_ends.replace(at, 4, "\r\n");
  }
  regexes[2] = line_ends;
  EXPECT_NE(WordScanner::recognise_sequence(regexes), nullptr);
  std::swap(regexes[0], regexes[1]);
  EXPECT_EQ(WordScanner::recognise_sequence(regexes), nullptr);
  EXPECT_EQ(WordScanner::recognise_sequence({}), nullptr);
}

TEST(WordScanner, RecognisesNothingElse) { EXPECT_EQ(WordScanner::recognise("\\s+"), nullptr); }

}  // namespace
}  // namespace sft
