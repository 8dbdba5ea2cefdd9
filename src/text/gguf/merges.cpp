#include "text/gguf/merges.h"

#include <algorithm>
#include <string_view>
#include <tuple>
#include <unordered_map>

#include "text/unicode.h"

namespace sft {
namespace {

struct Candidate {
  std::string_view left, right;
  int32_t left_id, right_id;
  float score;
  size_t left_chars, right_chars;
};

size_t count_chars(std::string_view text) {
  return text.size() -
         static_cast<size_t>(std::count_if(text.begin(), text.end(), is_continuation));
}

}  // namespace

std::vector<std::string> merges_from_scores(const std::vector<ScoredToken>& tokens) {
  std::unordered_map<std::string_view, int32_t> ids;
  for (const ScoredToken& token : tokens) {
    ids.emplace(token.text, token.id);
  }
  std::vector<Candidate> all;
  for (const ScoredToken& token : tokens) {
    const std::string_view text = token.text;
    const size_t first = all.size();
    for (size_t i = 1; i < text.size(); ++i) {
      if (is_continuation(text[i])) {
        continue;
      }
      const auto left = ids.find(text.substr(0, i));
      const auto right = left == ids.end() ? ids.end() : ids.find(text.substr(i));
      if (right != ids.end()) {
        all.push_back({left->first, right->first, left->second, right->second, token.score,
                       count_chars(left->first), count_chars(right->first)});
      }
    }
    std::sort(all.begin() + static_cast<long>(first), all.end(),
              [](const Candidate& a, const Candidate& b) {
                return std::pair(a.left_id, a.right_id) < std::pair(b.left_id, b.right_id);
              });
  }
  std::stable_sort(all.begin(), all.end(), [](const Candidate& a, const Candidate& b) {
    return std::tuple(a.score, a.left_chars, a.right_chars) >
           std::tuple(b.score, b.left_chars, b.right_chars);
  });
  std::vector<std::string> merges;
  merges.reserve(all.size());
  for (const Candidate& merge : all) {
    merges.push_back(std::string(merge.left) + " " + std::string(merge.right));
  }
  return merges;
}

}  // namespace sft
