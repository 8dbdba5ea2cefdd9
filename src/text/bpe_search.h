// Byte-pair encoding without merging, for byte-level vocabularies: takes the longest token at each
// place that could stand behind the one before it, and goes back where none can. Used by Bpe.
//
// Why it gives the same ids: merges cross no border of the final tokens, so a row of tokens is the
// encoding of its text when each two neighbours are the encoding of theirs, and such a row is
// unique. Whether two tokens may be neighbours is seen by undoing their merges along the border.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/merge_table.h"
#include "text/token_trie.h"
#include "text/vocabulary.h"

namespace sft {

class BpeSearch {
 public:
  // Null when the merges are of a kind that it cannot stand for (a token whose parts are made only
  // later than itself). `bytes` are the ids of the 256 bytes; `table` outlives this.
  static std::unique_ptr<BpeSearch> make(const Vocabulary& vocabulary,
                                         const std::vector<Merge>& merges, const MergeTable& table,
                                         const std::array<int32_t, 256>& bytes);

  // Room for one thread to work in: what it has found out about pairs of tokens, and where a row of
  // tokens cannot end. Belongs to one BpeSearch.
  struct Scratch {
    static constexpr size_t kPairs = 1 << 14;
    std::vector<uint64_t> pairs = std::vector<uint64_t>(kPairs, UINT64_MAX);
    std::vector<uint8_t> dead;
  };

  // Appends the ids of a word.
  void encode(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const;

  // The token whose bytes are these, whether merges lead to it or not; kNone when there is none.
  int32_t whole(std::string_view word) const {
    const TokenTrie::Node node = trie_.walk(TokenTrie::kRoot, word);
    const int32_t value = node == TokenTrie::kDead ? TokenTrie::kNone : trie_.value(node);
    return value < 0 ? value : value & kIdMask;
  }

 private:
  // How a token is made. `rank` is 1 more than its last merge's, 0 for a byte.
  struct Token {
    uint32_t rank = kNever;
    int32_t left = -1, right = -1;
    uint32_t bytes = 0;
  };
  struct Match {
    int32_t id;
    uint32_t bytes;
  };
  static constexpr uint32_t kNever = UINT32_MAX;  // no merges lead there
  static constexpr int32_t kUnreachableBit = 1 << 30;
  static constexpr uint32_t kUnreachable = 1u << 30;
  static constexpr int32_t kIdMask = (1 << 30) - 1;

  explicit BpeSearch(const MergeTable& table) : table_(table) {}
  bool find_splits(const std::vector<Merge>& merges);
  void build_trie(const Vocabulary& vocabulary);
  bool may_follow(int32_t left, int32_t right, uint32_t limit) const;
  bool may_follow(int32_t left, int32_t right, Scratch& scratch) const;
  Match longest(const char* text, size_t size) const;

  const MergeTable& table_;
  std::vector<Token> tokens_;
  std::vector<int32_t> shorter_;  // the longest token that a token begins with, or kNone
  TokenTrie trie_;  // values: the id, with kUnreachableBit for tokens that merges do not lead to
};

}  // namespace sft
