#include "text/unigram.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "text/unicode.h"

namespace sft {
namespace {

constexpr int32_t kNone = Vocabulary::kNone;
constexpr double kUnkPenalty = 10.0;  // how much worse than the worst token an unknown one is

}  // namespace

struct Unigram::Scratch : ModelScratch {
  std::vector<Step> steps;
  std::vector<Span> found;
};

Unigram::Unigram(Vocabulary vocabulary, std::vector<double> scores, int32_t unk_id,
                 bool byte_fallback, std::string name)
    : vocabulary_(std::move(vocabulary)),
      scores_(std::move(scores)),
      name_(std::move(name)),
      unk_id_(unk_id),
      byte_fallback_(byte_fallback) {
  std::vector<std::pair<std::string_view, int32_t>> texts;
  for (int32_t id = 0; id < vocabulary_.id_end(); ++id) {
    texts.emplace_back(vocabulary_.text(id), vocabulary_.find(vocabulary_.text(id)));
  }
  trie_.build(std::move(texts));
  unk_score_ = *std::min_element(scores_.begin(), scores_.end()) - kUnkPenalty;
  for (unsigned b = 0; b < 256; ++b) {
    byte_ids_[b] = vocabulary_.find(fmt::format("<0x{:02X}>", b));
  }
}

std::unique_ptr<ModelScratch> Unigram::make_scratch() const { return std::make_unique<Scratch>(); }

void Unigram::fail_without_unk(std::string_view text) const {
  throw Error("M117", fmt::format("the tokenizer {} has no token for \"{}\" and none for the "
                                  "unknown",
                                  name_, text))
      .hint("set \"unk_id\" in the tokenizer's model, or leave the character out of the text");
}

void Unigram::find_best(std::string_view piece, std::vector<Step>& steps) const {
  steps.assign(piece.size() + 1, Step{});
  for (size_t begin = 0; begin < piece.size();) {
    const double so_far = steps[begin].score;
    const uint32_t char_size = decode_utf8(piece.data() + begin).size;
    const auto reach = [&](size_t end, double score, int32_t id) {
      Step& step = steps[end];
      if (step.begin == UINT32_MAX || score > step.score) {
        step = {score, static_cast<uint32_t>(begin), id};
      }
    };
    bool has_single = false;
    TokenTrie::Node node = TokenTrie::kRoot;
    for (size_t end = begin; end < piece.size();) {
      node = trie_.step(node, static_cast<unsigned char>(piece[end++]));
      if (node == TokenTrie::kDead) {
        break;
      }
      if (const int32_t id = trie_.value(node); id != kNone) {
        reach(end, scores_[static_cast<size_t>(id)] + so_far, id);
        has_single = has_single || end - begin == char_size;
      }
    }
    if (!has_single) {
      const size_t end = begin + char_size;
      if (unk_id_ == kNone &&
          (steps[end].begin == UINT32_MAX || unk_score_ + so_far > steps[end].score)) {
        fail_without_unk(piece.substr(begin, char_size));
      }
      reach(end, unk_score_ + so_far, unk_id_);
    }
    begin += char_size;
  }
}

// A token of the best way; unknown characters in a row come as one.
void Unigram::add_token(std::string_view text, Span span, std::vector<int32_t>& ids,
                        std::vector<Span>* spans) const {
  const auto add = [&](int32_t id) {
    ids.push_back(id);
    if (spans != nullptr) {
      spans->push_back(span);
    }
  };
  const std::string_view token = text.substr(span.begin, span.size());
  if (const int32_t id = vocabulary_.find(token); id != kNone) {
    add(id);
    return;
  }
  const auto byte_id = [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)]; };
  if (byte_fallback_ &&
      std::none_of(token.begin(), token.end(), [&](char c) { return byte_id(c) == kNone; })) {
    for (const char byte : token) {
      add(byte_id(byte));
    }
    return;
  }
  if (unk_id_ == kNone) {
    fail_without_unk(token);
  }
  add(unk_id_);
}

void Unigram::encode(std::string_view text, std::span<const Span> pieces, bool raw_bytes,
                     ModelScratch& scratch, std::vector<int32_t>& ids,
                     std::vector<Span>* spans) const {
  SFT_ASSERT(!raw_bytes);
  auto& [steps, found] = static_cast<Scratch&>(scratch);
  for (const Span piece : pieces) {
    find_best(text.substr(piece.begin, piece.size()), steps);
    found.clear();
    bool in_unknown = false;
    for (uint32_t end = piece.size(); end > 0;) {
      const Step& step = steps[end];
      const bool unknown = step.id == unk_id_;
      if (unknown && in_unknown) {
        found.back().begin = piece.begin + step.begin;
      } else {
        found.push_back({piece.begin + step.begin, piece.begin + end});
      }
      in_unknown = unknown;
      end = step.begin;
    }
    for (auto it = found.rbegin(); it != found.rend(); ++it) {
      add_token(text, *it, ids, spans);
    }
  }
}

}  // namespace sft
