// Byte-pair encoding: turns one piece of text into ids by merging neighbours in the order of the
// merges. Used by Tokenizer; constant after construction.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/bpe_search.h"
#include "text/merge_table.h"
#include "text/token_model.h"
#include "text/vocabulary.h"
#include "text/word_cache.h"

namespace sft {

struct BpeOptions {
  std::string unk_token;  // "" is none
  std::string continuing_subword_prefix, end_of_word_suffix;
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;
};

// Where one thread keeps its words; belongs to one Bpe.
struct BpeScratch : ModelScratch {
  struct Pending {
    uint32_t rank, position;
    int32_t left, right;
  };
  std::vector<int32_t> ids;
  std::vector<uint32_t> sizes, piece_sizes;
  std::vector<uint64_t> pairs;
  std::vector<int32_t> previous, next;
  std::vector<Pending> heap;
  BpeSearch::Scratch search;
  std::string spelled;
  WordCache cache;
};

class Bpe : public TokenModel {
 public:
  static constexpr size_t kMaxMerges = size_t{1} << 25;

  // At most kMaxMerges `merges` in order of rank; of equal pairs the last one counts. M111 when
  // unk_token is not in the vocabulary.
  Bpe(Vocabulary vocabulary, const std::vector<Merge>& merges, BpeOptions options,
      const std::string& name);

  // Appends the ids of one piece, and the bytes of the piece each covers when `sizes` is given.
  // With `raw_bytes` each byte of the piece stands for its character of the byte-level alphabet.
  void encode(std::string_view piece, bool raw_bytes, BpeScratch& scratch,
              std::vector<int32_t>& ids, std::vector<uint32_t>* sizes) const;

  void encode(std::string_view text, std::span<const Span> pieces, bool raw_bytes,
              ModelScratch& scratch, std::vector<int32_t>& ids,
              std::vector<Span>* spans) const override;
  std::unique_ptr<ModelScratch> make_scratch() const override {
    return std::make_unique<BpeScratch>();
  }
  // Sizes of raw pieces are exact when every byte is in the vocabulary and tokens have no affixes.
  bool takes_raw_bytes(bool with_spans) const override { return !with_spans || raw_is_plain_; }
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  void build_tables(const std::string& name);
  bool merges_never_join_at_space(const std::vector<Merge>& merges) const;
  void encode_word(std::string_view word, bool raw_bytes, BpeScratch& scratch,
                   std::vector<int32_t>& ids, std::vector<uint32_t>* sizes) const;
  void encode_uncached(std::string_view word, bool raw_bytes, BpeScratch& scratch) const;
  bool whole_word(std::string_view word, bool raw_bytes, BpeScratch& scratch) const;
  void first_symbols_raw(std::string_view word, BpeScratch& scratch) const;
  void first_symbols(std::string_view word, BpeScratch& scratch) const;
  bool add_byte_tokens(std::string_view symbol, BpeScratch& scratch) const;
  void find_pairs(BpeScratch& scratch) const;
  void find_raw_pairs(std::string_view word, BpeScratch& scratch) const;
  void merge_short(BpeScratch& scratch) const;
  void merge_long(BpeScratch& scratch) const;

  Vocabulary vocabulary_;
  BpeOptions options_;
  MergeTable merges_;
  std::unique_ptr<BpeSearch> search_;    // for raw bytes; null where it cannot stand for merging
  std::vector<uint64_t> raw_pairs_;      // merges_ for every two raw bytes, first << 8 | second
  std::array<int32_t, 256> raw_ids_{};   // of the byte-level alphabet's characters
  std::array<int32_t, 256> byte_ids_{};  // of <0x00> ... <0xFF>
  std::vector<uint32_t> raw_sizes_;      // characters of each token: its bytes when read raw
  int32_t unk_id_ = Vocabulary::kNone;
  bool all_raw_bytes_known_ = false;
  bool raw_is_plain_ = false;  // ... and a token's characters are its raw bytes, without affixes
  bool cut_at_space_ = false;
};

}  // namespace sft
