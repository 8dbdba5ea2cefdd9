#include "text/bpe_search.h"

#include "text/byte_level.h"

namespace sft {

std::unique_ptr<BpeSearch> BpeSearch::make(const Vocabulary& vocabulary,
                                           const std::vector<Merge>& merges,
                                           const MergeTable& table,
                                           const std::array<int32_t, 256>& bytes) {
  std::unique_ptr<BpeSearch> search(new BpeSearch(table));
  search->tokens_.resize(static_cast<size_t>(vocabulary.id_end()));
  for (const int32_t id : bytes) {
    search->tokens_[static_cast<size_t>(id)].rank = 0;
  }
  if (!search->find_splits(merges)) {
    return nullptr;
  }
  search->build_trie(vocabulary);
  return search;
}

// Finds the last merge that makes each token of its own text.
bool BpeSearch::find_splits(const std::vector<Merge>& merges) {
  const auto token = [&](int32_t id) -> Token& { return tokens_[static_cast<size_t>(id)]; };
  const auto counts = [&](const Merge& merge, uint32_t rank) {
    return table_.find(merge.left, merge.right) >> 32 == rank;  // no later merge of the same pair
  };
  for (uint32_t rank = 0; rank < merges.size(); ++rank) {
    const Merge& merge = merges[rank];
    const bool made = token(merge.left).rank != kNever && token(merge.right).rank != kNever;
    if (!made || !counts(merge, rank) || !may_follow(merge.left, merge.right, rank)) {
      continue;
    }
    Token& result = token(merge.result);
    if (result.rank != kNever) {
      return false;  // two ways to one token, or a byte that is merged
    }
    result.rank = rank + 1;
    result.left = merge.left;
    result.right = merge.right;
  }
  for (uint32_t rank = 0; rank < merges.size(); ++rank) {
    const Merge& merge = merges[rank];
    const uint32_t left = token(merge.left).rank, right = token(merge.right).rank;
    if (left != kNever && right != kNever && (left > rank || right > rank) && counts(merge, rank)) {
      return false;
    }
  }
  return true;
}

void BpeSearch::build_trie(const Vocabulary& vocabulary) {
  std::string pool;
  std::vector<std::pair<size_t, int32_t>> ends;  // where each token's bytes end in the pool
  for (int32_t id = 0; id < vocabulary.id_end(); ++id) {
    const size_t begin = pool.size();
    if (!vocabulary.has(id) || !append_raw_bytes(pool, vocabulary.text(id))) {
      continue;
    }
    Token& token = tokens_[static_cast<size_t>(id)];
    token.bytes = static_cast<uint32_t>(pool.size() - begin);
    ends.emplace_back(pool.size(), token.rank == kNever ? id | kUnreachableBit : id);
  }
  std::vector<std::pair<std::string_view, int32_t>> texts;
  size_t begin = 0;
  for (const auto& [end, value] : ends) {
    texts.emplace_back(std::string_view(pool).substr(begin, end - begin), value);
    begin = end;
  }
  trie_.build(texts);
  shorter_.assign(tokens_.size(), TokenTrie::kNone);
  for (const auto& [text, value] : texts) {
    if (!text.empty() && (value & kUnreachableBit) == 0) {
      shorter_[static_cast<size_t>(value)] = longest(text.data(), text.size() - 1).id;
    }
  }
}

// Whether `left` and `right`, each its own encoding, stay apart when only merges of a lower rank
// than `limit` may join them: undoes the merge that came last, again and again, and looks whether
// the parts that then met would have been merged before they went into something larger.
bool BpeSearch::may_follow(int32_t left, int32_t right, uint32_t limit) const {
  const Token* a = &tokens_[static_cast<size_t>(left)];
  const Token* b = &tokens_[static_cast<size_t>(right)];
  while (true) {
    const uint64_t found = table_.find(left, right);
    if (found != MergeTable::kNoPair && found >> 32 < limit) {
      return false;
    }
    if (a->rank > b->rank) {
      limit = a->rank - 1;  // of equal merges the one to the left comes first: it wins a tie
      left = a->right;
      a = &tokens_[static_cast<size_t>(left)];
    } else if (b->rank > 0) {
      limit = b->rank;  // ... and here it loses it
      right = b->left;
      b = &tokens_[static_cast<size_t>(right)];
    } else {
      return true;
    }
  }
}

BpeSearch::Match BpeSearch::longest(const char* text, size_t size) const {
  TokenTrie::Node node = TokenTrie::kRoot;
  Match best{TokenTrie::kNone, 0};
  for (uint32_t i = 0; i < size;) {
    node = trie_.step(node, static_cast<unsigned char>(text[i++]));
    if (node == TokenTrie::kDead) {
      break;
    }
    const int32_t value = trie_.value(node);
    if (static_cast<uint32_t>(value) < kUnreachable) {  // neither kNone nor unreachable
      best = {value, i};
    }
  }
  return best;
}

bool BpeSearch::may_follow(int32_t left, int32_t right, Scratch& scratch) const {
  // Ids have 24 bits: the key of a pair leaves room for the answer.
  const uint64_t key = static_cast<uint64_t>(left) << 32 | static_cast<uint64_t>(right) << 1;
  uint64_t& known = scratch.pairs[key * 0x9E3779B97F4A7C15ull >> 50];
  static_assert(Scratch::kPairs == size_t{1} << (64 - 50));
  if ((known | 1) != (key | 1)) {
    known = key | (may_follow(left, right, kNever) ? 1 : 0);
  }
  return (known & 1) != 0;
}

void BpeSearch::encode(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const {
  Match candidate = longest(word.data(), word.size());
  if (candidate.bytes == word.size()) {
    ids.push_back(candidate.id);
    return;
  }
  const size_t first = ids.size();
  std::vector<uint8_t>& dead = scratch.dead;
  dead.assign(word.size() + 1, 0);
  const auto shorter = [&](int32_t id) {
    const int32_t found = shorter_[static_cast<size_t>(id)];
    return Match{found, found < 0 ? 0 : tokens_[static_cast<size_t>(found)].bytes};
  };
  size_t at = 0;
  while (at < word.size()) {
    if (dead[at + candidate.bytes] == 0 &&
        (ids.size() == first || may_follow(ids.back(), candidate.id, scratch))) {
      ids.push_back(candidate.id);
      at += candidate.bytes;
      candidate = longest(word.data() + at, word.size() - at);
      continue;
    }
    candidate = shorter(candidate.id);
    while (candidate.id < 0) {  // no token fits here: go back, and try a shorter one there
      dead[at] = 1;
      at -= tokens_[static_cast<size_t>(ids.back())].bytes;
      candidate = shorter(ids.back());
      ids.pop_back();
    }
  }
}

}  // namespace sft
