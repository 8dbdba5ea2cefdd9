// The two models that look whole words up: WordPiece (BERT's), which takes the longest token it
// knows again and again, and WordLevel, which takes the word or nothing. Used by Tokenizer.
#pragma once

#include <cstdint>
#include <string>

#include "text/token_model.h"
#include "text/token_trie.h"

namespace sft {

struct WordPieceOptions {
  std::string unk_token = "[UNK]";
  std::string continuing_subword_prefix = "##";
  int64_t max_input_chars_per_word = 100;  // longer words are unknown
};

class WordPiece : public TokenModel {
 public:
  WordPiece(Vocabulary vocabulary, WordPieceOptions options, std::string name);

  const Vocabulary& vocabulary() const override { return vocabulary_; }
  std::unique_ptr<ModelScratch> make_scratch() const override;
  void encode(std::string_view text, std::span<const Span> pieces, bool raw_bytes,
              ModelScratch& scratch, std::vector<int32_t>& ids,
              std::vector<Span>* spans) const override;

 private:
  bool encode_word(std::string_view text, Span piece, std::vector<int32_t>& ids,
                   std::vector<Span>* spans) const;

  Vocabulary vocabulary_;
  WordPieceOptions options_;
  std::string name_;
  TokenTrie trie_;
  TokenTrie::Node inside_;  // where the continuing prefix leads: the tokens within a word
  int32_t unk_id_;
};

class WordLevel : public TokenModel {
 public:
  WordLevel(Vocabulary vocabulary, std::string unk_token, std::string name);

  const Vocabulary& vocabulary() const override { return vocabulary_; }
  std::unique_ptr<ModelScratch> make_scratch() const override;
  void encode(std::string_view text, std::span<const Span> pieces, bool raw_bytes,
              ModelScratch& scratch, std::vector<int32_t>& ids,
              std::vector<Span>* spans) const override;

 private:
  Vocabulary vocabulary_;
  std::string unk_token_, name_;
  int32_t unk_id_;
};

}  // namespace sft
