// The Unigram model (SentencePiece's): of all ways to cut a text into tokens, the one whose scores
// add up to the most. Used by Tokenizer.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "text/token_model.h"
#include "text/token_trie.h"

namespace sft {

class Unigram : public TokenModel {
 public:
  // `scores` are by id. `unk_id` is kNone where an unknown character is an error.
  Unigram(Vocabulary vocabulary, std::vector<double> scores, int32_t unk_id, bool byte_fallback,
          std::string name);

  const Vocabulary& vocabulary() const override { return vocabulary_; }
  std::unique_ptr<ModelScratch> make_scratch() const override;
  void encode(std::string_view text, std::span<const Span> pieces, bool raw_bytes,
              ModelScratch& scratch, std::vector<int32_t>& ids,
              std::vector<Span>* spans) const override;

 private:
  // The best way to the place that a step ends at.
  struct Step {
    double score = 0;
    uint32_t begin = UINT32_MAX;  // where its last token begins; UINT32_MAX: not reached yet
    int32_t id = Vocabulary::kNone;
  };
  struct Scratch;
  void find_best(std::string_view piece, std::vector<Step>& steps) const;
  void add_token(std::string_view text, Span span, std::vector<int32_t>& ids,
                 std::vector<Span>* spans) const;
  [[noreturn]] void fail_without_unk(std::string_view text) const;

  Vocabulary vocabulary_;
  std::vector<double> scores_;
  TokenTrie trie_;
  std::array<int32_t, 256> byte_ids_{};  // of <0x00> ... <0xFF>
  std::string name_;
  double unk_score_ = 0;
  int32_t unk_id_;
  bool byte_fallback_;
};

}  // namespace sft
