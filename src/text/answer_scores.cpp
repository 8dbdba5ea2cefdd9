#include "text/answer_scores.h"

#include <algorithm>
#include <string>
#include <vector>

#include "core/strings.h"

namespace sft {

namespace {

// In lower case only two letters beyond ASCII have one of a-z: the sign of Kelvin is a k, and the
// dotted I an i with a dot, which parts the word.
std::vector<std::string> words_of(std::string_view text) {
  constexpr std::string_view kKelvin = "\xE2\x84\xAA", kDottedI = "\xC4\xB0";
  std::vector<std::string> words;
  std::string word;
  const auto end_word = [&] {
    if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
      word += c;
    } else if (c >= 'A' && c <= 'Z') {
      word += static_cast<char>(c - 'A' + 'a');
    } else if (text.substr(i).starts_with(kKelvin)) {
      word += 'k';
      i += kKelvin.size() - 1;
    } else if (text.substr(i).starts_with(kDottedI)) {
      word += 'i';
      end_word();
      i += kDottedI.size() - 1;
    } else {
      end_word();
    }
  }
  end_word();
  return words;
}

size_t common_subsequence(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  std::vector<size_t> longest(b.size() + 1);
  for (const std::string& word : a) {
    size_t diagonal = 0;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t above = longest[j + 1];
      longest[j + 1] = word == b[j] ? diagonal + 1 : std::max(above, longest[j]);
      diagonal = above;
    }
  }
  return longest.back();
}

}  // namespace

bool is_exact_match(std::string_view answer, std::string_view wanted) {
  return trim(answer) == trim(wanted);
}

double rouge_l(std::string_view answer, std::string_view wanted) {
  const std::vector<std::string> a = words_of(answer), b = words_of(wanted);
  if (a.empty() || b.empty()) {
    return 0.0;
  }
  const auto common = static_cast<double>(common_subsequence(a, b));
  const double precision = common / static_cast<double>(a.size());
  const double recall = common / static_cast<double>(b.size());
  return common > 0 ? 2 * precision * recall / (precision + recall) : 0.0;
}

}  // namespace sft
