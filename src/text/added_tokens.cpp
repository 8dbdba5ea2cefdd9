#include "text/added_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/json.h"
#include "text/json_fields.h"

namespace sft {
namespace {

bool is_word_at(std::string_view text, size_t at) {
  return at < text.size() && (char_classes()[decode_utf8(text.data() + at).code] & kPlainWord) != 0;
}
bool is_word_before(std::string_view text, size_t end) {
  return end > 0 && (char_classes()[decode_utf8_before(text, end).code] & kPlainWord) != 0;
}

size_t back_over_spaces(std::string_view text, size_t at) {
  while (at > 0) {
    const DecodedChar c = decode_utf8_before(text, at);
    if ((char_classes()[c.code] & kSpace) == 0) {
      break;
    }
    at -= c.size;
  }
  return at;
}
size_t over_spaces(std::string_view text, size_t at) {
  while (at < text.size()) {
    const DecodedChar c = decode_utf8(text.data() + at);
    if ((char_classes()[c.code] & kSpace) == 0) {
      break;
    }
    at += c.size;
  }
  return at;
}

TokenPart make_part(size_t begin, size_t end, int32_t id) {
  return {{static_cast<uint32_t>(begin), static_cast<uint32_t>(end)}, id};
}

}  // namespace

void TokenMatcher::add(std::string_view text, size_t token) {
  uint32_t node = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (const uint32_t* next = child(node, byte)) {
      node = *next;
      continue;
    }
    const auto fresh = static_cast<uint32_t>(nodes_.size());
    auto& children = nodes_[node].children;
    children.insert(std::upper_bound(children.begin(), children.end(), std::pair{byte, UINT32_MAX}),
                    {byte, fresh});
    nodes_.emplace_back();
    node = fresh;
  }
  nodes_[node].token = std::min(nodes_[node].token, token);
}

void TokenMatcher::finish() {
  for (const auto& [byte, node] : nodes_[0].children) {
    starts_[byte] = true;
  }
  only_start_ = nodes_[0].children.size() == 1 ? nodes_[0].children[0].first : -1;
}

const uint32_t* TokenMatcher::child(uint32_t node, unsigned char byte) const {
  const auto& children = nodes_[node].children;
  const auto it = std::lower_bound(children.begin(), children.end(), std::pair{byte, uint32_t{0}});
  return it != children.end() && it->first == byte ? &it->second : nullptr;
}

size_t TokenMatcher::find_start(std::string_view text, size_t from) const {
  if (only_start_ >= 0) {
    const void* hit = std::memchr(text.data() + from, only_start_, text.size() - from);
    return hit == nullptr ? text.size()
                          : static_cast<size_t>(static_cast<const char*>(hit) - text.data());
  }
  while (from < text.size() && !starts_[static_cast<unsigned char>(text[from])]) {
    ++from;
  }
  return from;
}

TokenMatcher::Match TokenMatcher::find(std::string_view text, size_t from, Budget& budget) const {
  for (size_t begin = from; !empty() && begin < text.size(); ++begin) {
    begin = find_start(text, begin);
    Match match{begin, begin, SIZE_MAX};
    uint32_t node = 0;
    for (size_t i = begin; i < text.size(); ++i) {
      const uint32_t* next = child(node, static_cast<unsigned char>(text[i]));
      if (next == nullptr) {
        break;
      }
      node = *next;
      budget.step();
      if (nodes_[node].token != SIZE_MAX) {
        match.end = i + 1;
        match.token = nodes_[node].token;
      }
    }
    if (match.token != SIZE_MAX) {
      return match;
    }
  }
  return {text.size(), text.size(), SIZE_MAX};
}

void AddedTokens::add(const Json& list, const Vocabulary& vocabulary, const std::string& where) {
  if (list.is_null()) {
    return;
  }
  if (!list.is_array()) {
    throw Error("M110", "\"added_tokens\" is not a list").at(where).hint("fetch the file again");
  }
  for (const Json& item : list) {
    AddedToken token;
    token.content = required_field(item, "content", where).is_string()
                        ? item["content"].get<std::string>()
                        : throw Error("M110", "an added token has no content").at(where);
    token.special = bool_field(item, "special", false, where);
    token.single_word = bool_field(item, "single_word", false, where);
    token.lstrip = bool_field(item, "lstrip", false, where);
    token.rstrip = bool_field(item, "rstrip", false, where);
    token.normalized = bool_field(item, "normalized", !token.special, where);
    add_one(std::move(token), vocabulary, where);
  }
}

void AddedTokens::add_one(AddedToken token, const Vocabulary& vocabulary,
                          const std::string& where) {
  if (token.content.empty()) {
    return;
  }
  if (const auto known = by_content_.find(token.content); known != by_content_.end()) {
    token.id = tokens_[known->second].id;  // listed again: the later flags count
    tokens_[known->second] = std::move(token);
    return;
  }
  token.id = vocabulary.find(token.content);
  if (token.id == Vocabulary::kNone) {
    token.id = std::max(id_end_, vocabulary.count());
    if (vocabulary.has(token.id)) {
      throw Error("M110", fmt::format("the added token \"{}\" takes the id {} of \"{}\"",
                                      token.content, token.id, vocabulary.text(token.id)))
          .at(where)
          .hint("the vocabulary has gaps; list the token in the model's vocabulary too");
    }
  }
  id_end_ = std::max(id_end_, token.id + 1);
  by_id_[token.id] = tokens_.size();
  by_content_[token.content] = tokens_.size();
  tokens_.push_back(std::move(token));
}

void AddedTokens::finish(const Normalizer* normalizer, std::string_view budget_subject,
                         bool split_special) {
  split_special_ = split_special;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    tokens_[i].shown = tokens_[i].content;
    if (!tokens_[i].normalized) {
      in_original_.add(tokens_[i].content, i);
      continue;
    }
    Budget budget = tokenizer_budget(tokens_[i].content.size(), budget_subject);
    AlignedText text;
    text.reset(tokens_[i].content, 0, false, budget);
    if (normalizer != nullptr) {
      normalizer->apply(text);
    }
    tokens_[i].shown = text.text();
    if (!tokens_[i].shown.empty()) {
      in_normalized_.add(tokens_[i].shown, i);
    }
  }
  in_original_.finish();
  in_normalized_.finish();
}

void AddedTokens::find(std::string_view text, bool normalized, Budget& budget,
                       std::vector<TokenPart>& parts) const {
  const TokenMatcher& matcher = normalized ? in_normalized_ : in_original_;
  size_t done = 0;
  for (size_t from = 0; from < text.size();) {
    const TokenMatcher::Match match = matcher.find(text, from, budget);
    if (match.token == SIZE_MAX) {
      break;
    }
    from = match.end;
    const AddedToken& token = tokens_[match.token];
    size_t begin = match.begin, end = match.end;
    if (split_special_ && token.special) {
      continue;
    }
    if (token.single_word && (is_word_before(text, begin) || is_word_at(text, end))) {
      continue;
    }
    if (token.lstrip) {
      begin = std::max(back_over_spaces(text, begin), done);
    }
    if (token.rstrip) {
      end = over_spaces(text, end);
    }
    if (done < begin) {
      parts.push_back(make_part(done, begin, Vocabulary::kNone));
    }
    if (begin < end) {  // nothing is left when the token before swallowed it
      parts.push_back(make_part(begin, end, token.id));
    }
    done = end;
  }
  if (done < text.size()) {
    parts.push_back(make_part(done, text.size(), Vocabulary::kNone));
  }
}

const AddedToken* AddedTokens::by_id(int32_t id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &tokens_[it->second];
}

const AddedToken* AddedTokens::by_content(std::string_view content) const {
  const auto it = by_content_.find(std::string(content));
  return it == by_content_.end() ? nullptr : &tokens_[it->second];
}

bool AddedTokens::is_special(int32_t id) const {
  const AddedToken* token = by_id(id);
  return token != nullptr && token->special;
}

}  // namespace sft
