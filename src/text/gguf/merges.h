// The merges of a SentencePiece vocabulary, which has only scores. Used by gguf_tokenizer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sft {

struct ScoredToken {
  std::string text;  // valid UTF-8
  int32_t id;
  float score;
};

// "left right" lines, best first: every way to make a token out of two others, by the token's
// score.
std::vector<std::string> merges_from_scores(const std::vector<ScoredToken>& tokens);

}  // namespace sft
