#include "text/bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "core/error.h"
#include "text/byte_level.h"
#include "text/unicode.h"

namespace sft {
namespace {

constexpr int32_t kNone = Vocabulary::kNone;
constexpr uint64_t kNoPair = MergeTable::kNoPair;
constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581, SentencePiece's space
constexpr int32_t kShortWord = 64;                       // symbols; longer words use the heap

}  // namespace

Bpe::Bpe(Vocabulary vocabulary, const std::vector<Merge>& merges, BpeOptions options,
         const std::string& name)
    : vocabulary_(std::move(vocabulary)), options_(std::move(options)), merges_(merges) {
  build_tables(name);
  const bool has_affixes =
      !options_.continuing_subword_prefix.empty() || !options_.end_of_word_suffix.empty();
  raw_is_plain_ = all_raw_bytes_known_ && !has_affixes;
  if (raw_is_plain_) {
    raw_pairs_.resize(size_t{1} << 16);
    for (size_t i = 0; i < raw_pairs_.size(); ++i) {
      raw_pairs_[i] = merges_.find(raw_ids_[i >> 8], raw_ids_[i & 0xFF]);
    }
  }
  if (raw_is_plain_) {
    search_ = BpeSearch::make(vocabulary_, merges, merges_, raw_ids_);
  }
  cut_at_space_ = !has_affixes && !options_.ignore_merges &&
                  vocabulary_.find(kSpaceMark) != kNone && merges_never_join_at_space(merges);
}

void Bpe::build_tables(const std::string& name) {
  all_raw_bytes_known_ = true;
  for (unsigned b = 0; b < 256; ++b) {
    std::string text;
    append_utf8(text, byte_to_code(static_cast<unsigned char>(b)));
    raw_ids_[b] = vocabulary_.find(text);
    all_raw_bytes_known_ = all_raw_bytes_known_ && raw_ids_[b] != kNone;
    byte_ids_[b] = vocabulary_.find(fmt::format("<0x{:02X}>", b));
  }
  raw_sizes_.resize(static_cast<size_t>(vocabulary_.id_end()));
  for (size_t id = 0; id < raw_sizes_.size(); ++id) {
    const std::string_view text = vocabulary_.text(static_cast<int32_t>(id));
    raw_sizes_[id] =
        static_cast<uint32_t>(text.size() - static_cast<size_t>(std::count_if(
                                                text.begin(), text.end(), is_continuation)));
  }
  if (!options_.unk_token.empty()) {
    unk_id_ = vocabulary_.find(options_.unk_token);
    if (unk_id_ == kNone) {
      throw Error("M111", fmt::format("the unk_token \"{}\" is not in the vocabulary of {}",
                                      options_.unk_token, name))
          .hint("the tokenizer file is damaged; fetch it again");
    }
  }
}

// When no merge joins something to a space mark behind it, words can be encoded one by one.
bool Bpe::merges_never_join_at_space(const std::vector<Merge>& merges) const {
  return std::none_of(merges.begin(), merges.end(), [&](const Merge& merge) {
    return vocabulary_.text(merge.right).starts_with(kSpaceMark) &&
           !vocabulary_.text(merge.left).ends_with(kSpaceMark);
  });
}

void Bpe::encode(std::string_view text, std::span<const Span> pieces, bool raw_bytes,
                 ModelScratch& scratch, std::vector<int32_t>& ids, std::vector<Span>* spans) const {
  auto& work = static_cast<BpeScratch&>(scratch);
  constexpr size_t kAhead = 8;  // words whose place in the cache is fetched while others are done
  for (size_t i = 0; i < std::min(kAhead, pieces.size()); ++i) {
    work.cache.prefetch(text.substr(pieces[i].begin, pieces[i].size()));
  }
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Span piece = pieces[i];
    const std::string_view word = text.substr(piece.begin, piece.size());
    if (i + kAhead < pieces.size()) {
      const Span later = pieces[i + kAhead];
      work.cache.prefetch(text.substr(later.begin, later.size()));
    }
    if (spans == nullptr) {
      encode(word, raw_bytes, work, ids, nullptr);
      continue;
    }
    work.piece_sizes.clear();
    encode(word, raw_bytes, work, ids, &work.piece_sizes);
    uint32_t at = piece.begin;
    for (const uint32_t size : work.piece_sizes) {
      spans->push_back({at, at + size});
      at += size;
    }
  }
}

void Bpe::encode(std::string_view piece, bool raw_bytes, BpeScratch& scratch,
                 std::vector<int32_t>& ids, std::vector<uint32_t>* sizes) const {
  if (!cut_at_space_ || raw_bytes) {
    encode_word(piece, raw_bytes, scratch, ids, sizes);
    return;
  }
  size_t begin = 0;
  while (begin < piece.size()) {
    size_t cut = begin;  // over the space marks at the front, then to the next one
    while (piece.substr(cut).starts_with(kSpaceMark)) {
      cut += kSpaceMark.size();
    }
    cut = std::min(piece.find(kSpaceMark, cut), piece.size());
    encode_word(piece.substr(begin, cut - begin), raw_bytes, scratch, ids, sizes);
    begin = cut;
  }
}

void Bpe::encode_word(std::string_view word, bool raw_bytes, BpeScratch& scratch,
                      std::vector<int32_t>& ids, std::vector<uint32_t>* sizes) const {
  const bool sizes_from_ids = raw_bytes && raw_is_plain_;
  const bool cacheable =
      word.size() <= WordCache::kMaxBytes && (sizes == nullptr || sizes_from_ids);
  const auto add_sizes = [&](const int32_t* first, size_t count) {
    for (size_t i = 0; sizes != nullptr && i < count; ++i) {
      sizes->push_back(raw_sizes_[static_cast<size_t>(first[i])]);
    }
  };
  if (!cacheable) {
    encode_uncached(word, raw_bytes, scratch);
    ids.insert(ids.end(), scratch.ids.begin(), scratch.ids.end());
    if (sizes_from_ids) {
      add_sizes(scratch.ids.data(), scratch.ids.size());
    } else if (sizes != nullptr) {
      sizes->insert(sizes->end(), scratch.sizes.begin(), scratch.sizes.end());
    }
    return;
  }
  const WordCache::Key key = WordCache::key_of(word);
  WordCache::Entry& entry = scratch.cache.slot(key);
  if (entry.key == key && entry.bytes == word.size()) {
    ids.insert(ids.end(), entry.ids.begin(), entry.ids.begin() + entry.count);
    add_sizes(entry.ids.data(), entry.count);
    return;
  }
  encode_uncached(word, raw_bytes, scratch);
  ids.insert(ids.end(), scratch.ids.begin(), scratch.ids.end());
  add_sizes(scratch.ids.data(), scratch.ids.size());
  if (scratch.ids.size() <= WordCache::kMaxIds) {
    entry.key = key;
    entry.bytes = static_cast<uint8_t>(word.size());
    entry.count = static_cast<uint8_t>(scratch.ids.size());
    std::copy(scratch.ids.begin(), scratch.ids.end(), entry.ids.begin());
  }
}

void Bpe::encode_uncached(std::string_view word, bool raw_bytes, BpeScratch& scratch) const {
  scratch.ids.clear();
  scratch.sizes.clear();
  if (raw_bytes && search_) {  // sizes come from the ids
    const int32_t whole = options_.ignore_merges ? search_->whole(word) : kNone;
    if (whole != kNone) {
      scratch.ids.push_back(whole);
    } else {
      search_->encode(word, scratch.search, scratch.ids);
    }
    return;
  }
  if (options_.ignore_merges && whole_word(word, raw_bytes, scratch)) {
    return;
  }
  if (raw_bytes && raw_is_plain_) {
    first_symbols_raw(word, scratch);
  } else if (raw_bytes) {
    scratch.spelled.clear();
    append_byte_level(scratch.spelled, word);
    first_symbols(scratch.spelled, scratch);
  } else {
    first_symbols(word, scratch);
  }
  if (scratch.ids.size() < 2) {
    return;
  }
  if (raw_bytes && raw_is_plain_) {
    find_raw_pairs(word, scratch);
  } else {
    find_pairs(scratch);
  }
  if (scratch.ids.size() <= static_cast<size_t>(kShortWord)) {
    merge_short(scratch);
  } else {
    merge_long(scratch);
  }
}

void Bpe::find_pairs(BpeScratch& scratch) const {
  scratch.pairs.resize(scratch.ids.size() - 1);
  for (size_t i = 0; i < scratch.pairs.size(); ++i) {
    scratch.pairs[i] = merges_.find(scratch.ids[i], scratch.ids[i + 1]);
  }
}

void Bpe::find_raw_pairs(std::string_view word, BpeScratch& scratch) const {
  scratch.pairs.resize(word.size() - 1);
  const auto* bytes = reinterpret_cast<const unsigned char*>(word.data());
  for (size_t i = 0; i < scratch.pairs.size(); ++i) {
    scratch.pairs[i] = raw_pairs_[size_t{bytes[i]} << 8 | bytes[i + 1]];
  }
}

bool Bpe::whole_word(std::string_view word, bool raw_bytes, BpeScratch& scratch) const {
  int32_t id = kNone;
  if (raw_bytes) {
    scratch.spelled.clear();
    append_byte_level(scratch.spelled, word);
    id = vocabulary_.find(scratch.spelled);
  } else {
    id = vocabulary_.find(word);
  }
  if (id == kNone) {
    return false;
  }
  scratch.ids.push_back(id);
  scratch.sizes.push_back(static_cast<uint32_t>(word.size()));
  return true;
}

void Bpe::first_symbols_raw(std::string_view word, BpeScratch& scratch) const {
  scratch.ids.resize(word.size());
  scratch.sizes.assign(word.size(), 1);
  for (size_t i = 0; i < word.size(); ++i) {
    scratch.ids[i] = raw_ids_[static_cast<unsigned char>(word[i])];
  }
}

// One symbol a character; unknown characters become their byte tokens, the unk token, or nothing.
void Bpe::first_symbols(std::string_view word, BpeScratch& scratch) const {
  const bool has_affixes =
      !options_.continuing_subword_prefix.empty() || !options_.end_of_word_suffix.empty();
  uint32_t unknown = 0;  // bytes of unknown text not yet added
  const auto flush = [&] {
    if (unknown > 0) {
      scratch.ids.push_back(unk_id_);
      scratch.sizes.push_back(unknown);
      unknown = 0;
    }
  };
  std::string with_affixes;
  for (size_t i = 0; i < word.size();) {
    const uint32_t size = decode_utf8(word.data() + i).size;
    std::string_view symbol = word.substr(i, size);
    if (has_affixes) {
      with_affixes = i > 0 ? options_.continuing_subword_prefix : "";
      with_affixes += symbol;
      with_affixes += i + size == word.size() ? options_.end_of_word_suffix : "";
      symbol = with_affixes;
    }
    i += size;
    if (const int32_t id = vocabulary_.find(symbol); id != kNone) {
      flush();
      scratch.ids.push_back(id);
      scratch.sizes.push_back(size);
    } else if (options_.byte_fallback && add_byte_tokens(symbol, scratch)) {
      continue;
    } else if (unk_id_ != kNone) {
      if (!options_.fuse_unk) {
        flush();
      }
      unknown += size;
    }
  }
  flush();
}

bool Bpe::add_byte_tokens(std::string_view symbol, BpeScratch& scratch) const {
  const auto id_of = [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)]; };
  if (std::any_of(symbol.begin(), symbol.end(), [&](char byte) { return id_of(byte) == kNone; })) {
    return false;
  }
  for (const char byte : symbol) {
    scratch.ids.push_back(id_of(byte));
    scratch.sizes.push_back(1);
  }
  return true;
}

// Looks at all pairs for the best each time: the fastest for short words, as the minimum over a few
// dozen numbers is a handful of vector instructions.
void Bpe::merge_short(BpeScratch& scratch) const {
  const size_t n = scratch.ids.size();
  int32_t* ids = scratch.ids.data();
  uint32_t* sizes = scratch.sizes.data();
  uint64_t* pairs = scratch.pairs.data();
  constexpr int32_t never = INT32_MAX;
  // rank << 6 | place, so that of equal ranks the first wins; `never` where nothing merges.
  alignas(64) std::array<int32_t, kShortWord> keys;
  std::array<uint8_t, kShortWord> previous{}, next{};
  constexpr uint8_t none = kShortWord;
  const auto set_key = [&](size_t i) {
    keys[i] = pairs[i] == kNoPair ? never : static_cast<int32_t>(pairs[i] >> 32 << 6 | i);
  };
  const auto look_up = [&](size_t i) {
    pairs[i] = merges_.find(ids[i], ids[next[i]]);
    set_key(i);
  };
  const size_t padded = (n + 15) / 16 * 16;
  std::fill(keys.begin() + static_cast<long>(n - 1), keys.begin() + static_cast<long>(padded),
            never);
  for (size_t i = 0; i < n; ++i) {
    previous[i] = static_cast<uint8_t>(i == 0 ? none : i - 1);
    next[i] = static_cast<uint8_t>(i + 1 == n ? none : i + 1);
    if (i + 1 < n) {
      set_key(i);
    }
  }
  while (true) {
    int32_t best = never;
    for (size_t block = 0; block < padded; block += 16) {
      for (size_t k = 0; k < 16; ++k) {
        best = std::min(best, keys[block + k]);
      }
    }
    if (best == never) {
      break;
    }
    const auto i = static_cast<size_t>(best & (kShortWord - 1));
    const size_t right = next[i];
    ids[i] = static_cast<int32_t>(static_cast<uint32_t>(pairs[i]));
    sizes[i] += sizes[right];
    keys[right] = never;
    next[i] = next[right];
    if (next[i] != none) {
      previous[next[i]] = static_cast<uint8_t>(i);
      look_up(i);
    } else {
      keys[i] = never;
    }
    if (previous[i] != none) {
      look_up(previous[i]);
    }
  }
  size_t kept = 0;
  for (size_t i = 0; i != none; i = next[i]) {
    ids[kept] = ids[i];
    sizes[kept++] = sizes[i];
  }
  scratch.ids.resize(kept);
  scratch.sizes.resize(kept);
}

// A linked list of symbols and a heap of pairs: n log n for words of any length.
void Bpe::merge_long(BpeScratch& scratch) const {
  auto& ids = scratch.ids;
  auto& sizes = scratch.sizes;
  auto& pairs = scratch.pairs;
  auto& previous = scratch.previous;
  auto& next = scratch.next;
  auto& heap = scratch.heap;
  const auto n = static_cast<int32_t>(ids.size());
  previous.resize(ids.size());
  next.resize(ids.size());
  heap.clear();
  const auto worse = [](const BpeScratch::Pending& a, const BpeScratch::Pending& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  const auto at = [](int32_t i) { return static_cast<size_t>(i); };
  const auto add = [&](int32_t i, uint64_t found) {
    if (found != kNoPair) {
      heap.push_back({static_cast<uint32_t>(found >> 32), static_cast<uint32_t>(i), ids[at(i)],
                      ids[at(next[at(i)])]});
    }
  };
  const auto push = [&](int32_t i) {
    const size_t before = heap.size();
    add(i, merges_.find(ids[at(i)], ids[at(next[at(i)])]));
    if (heap.size() > before) {
      std::push_heap(heap.begin(), heap.end(), worse);
    }
  };
  for (int32_t i = 0; i < n; ++i) {
    previous[at(i)] = i - 1;
    next[at(i)] = i + 1 < n ? i + 1 : -1;
  }
  for (int32_t i = 0; i + 1 < n; ++i) {
    add(i, pairs[at(i)]);
  }
  std::make_heap(heap.begin(), heap.end(), worse);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), worse);
    const BpeScratch::Pending top = heap.back();
    heap.pop_back();
    const auto i = static_cast<int32_t>(top.position);
    const int32_t right = next[at(i)];
    // Removed symbols have id -1, so a pair that is no longer there never matches.
    if (ids[at(i)] != top.left || right < 0 || ids[at(right)] != top.right) {
      continue;
    }
    ids[at(i)] = static_cast<int32_t>(static_cast<uint32_t>(merges_.find(top.left, top.right)));
    sizes[at(i)] += sizes[at(right)];
    ids[at(right)] = -1;
    next[at(i)] = next[at(right)];
    if (next[at(i)] >= 0) {
      previous[at(next[at(i)])] = i;
      push(i);
    }
    if (previous[at(i)] >= 0) {
      push(previous[at(i)]);
    }
  }
  size_t kept = 0;
  for (int32_t i = 0; i >= 0; i = next[at(i)]) {
    ids[kept] = ids[at(i)];
    sizes[kept++] = sizes[at(i)];
  }
  ids.resize(kept);
  sizes.resize(kept);
}

}  // namespace sft
