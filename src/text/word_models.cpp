#include "text/word_models.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "text/unicode.h"

namespace sft {
namespace {

constexpr int32_t kNone = Vocabulary::kNone;

// The token of a word that has none; M117 when the vocabulary lacks the unknown token as well.
void add_unknown(std::string_view text, Span piece, int32_t unk_id, const std::string& unk_token,
                 const std::string& name, std::vector<int32_t>& ids, std::vector<Span>* spans) {
  if (unk_id == kNone) {
    throw Error("M117",
                fmt::format("the tokenizer {} has no token for \"{}\", and its unknown "
                            "token \"{}\" is not in the vocabulary",
                            name, text.substr(piece.begin, std::min(piece.size(), 40u)), unk_token))
        .hint("add the unknown token to the vocabulary, or name one that is in it");
  }
  ids.push_back(unk_id);
  if (spans != nullptr) {
    spans->push_back(piece);
  }
}

}  // namespace

WordPiece::WordPiece(Vocabulary vocabulary, WordPieceOptions options, std::string name)
    : vocabulary_(std::move(vocabulary)), options_(std::move(options)), name_(std::move(name)) {
  std::vector<std::pair<std::string_view, int32_t>> texts;
  for (int32_t id = 0; id < vocabulary_.id_end(); ++id) {
    if (vocabulary_.has(id)) {
      texts.emplace_back(vocabulary_.text(id), id);
    }
  }
  trie_.build(std::move(texts));
  inside_ = trie_.walk(TokenTrie::kRoot, options_.continuing_subword_prefix);
  unk_id_ = vocabulary_.find(options_.unk_token);
}

std::unique_ptr<ModelScratch> WordPiece::make_scratch() const {
  return std::make_unique<ModelScratch>();
}

// False, with nothing added, when a part of the word has no token.
bool WordPiece::encode_word(std::string_view text, Span piece, std::vector<int32_t>& ids,
                            std::vector<Span>* spans) const {
  const char* begin = text.data() + piece.begin;
  const auto chars = piece.size() - std::count_if(begin, begin + piece.size(), is_continuation);
  if (static_cast<int64_t>(chars) > options_.max_input_chars_per_word) {
    return false;
  }
  const size_t ids_before = ids.size(), spans_before = spans != nullptr ? spans->size() : 0;
  for (uint32_t start = piece.begin; start < piece.end;) {
    TokenTrie::Node node = start == piece.begin ? TokenTrie::kRoot : inside_;
    int32_t best = kNone;
    uint32_t best_end = start;
    for (uint32_t end = start; end < piece.end && node != TokenTrie::kDead;) {
      node = trie_.step(node, static_cast<unsigned char>(text[end++]));
      if (node != TokenTrie::kDead && trie_.value(node) != kNone) {
        best = trie_.value(node);
        best_end = end;
      }
    }
    if (best == kNone) {
      ids.resize(ids_before);
      if (spans != nullptr) {
        spans->resize(spans_before);
      }
      return false;
    }
    ids.push_back(best);
    if (spans != nullptr) {
      spans->push_back({start, best_end});
    }
    start = best_end;
  }
  return true;
}

void WordPiece::encode(std::string_view text, std::span<const Span> pieces, bool raw_bytes,
                       ModelScratch& scratch, std::vector<int32_t>& ids,
                       std::vector<Span>* spans) const {
  SFT_ASSERT(!raw_bytes);
  (void)scratch;
  for (const Span piece : pieces) {
    if (!encode_word(text, piece, ids, spans)) {
      add_unknown(text, piece, unk_id_, options_.unk_token, name_, ids, spans);
    }
  }
}

WordLevel::WordLevel(Vocabulary vocabulary, std::string unk_token, std::string name)
    : vocabulary_(std::move(vocabulary)),
      unk_token_(std::move(unk_token)),
      name_(std::move(name)),
      unk_id_(vocabulary_.find(unk_token_)) {}

std::unique_ptr<ModelScratch> WordLevel::make_scratch() const {
  return std::make_unique<ModelScratch>();
}

void WordLevel::encode(std::string_view text, std::span<const Span> pieces, bool raw_bytes,
                       ModelScratch& scratch, std::vector<int32_t>& ids,
                       std::vector<Span>* spans) const {
  SFT_ASSERT(!raw_bytes);
  (void)scratch;
  for (const Span piece : pieces) {
    const int32_t id = vocabulary_.find(text.substr(piece.begin, piece.size()));
    if (id == kNone) {
      add_unknown(text, piece, unk_id_, unk_token_, name_, ids, spans);
      continue;
    }
    ids.push_back(id);
    if (spans != nullptr) {
      spans->push_back(piece);
    }
  }
}

}  // namespace sft
