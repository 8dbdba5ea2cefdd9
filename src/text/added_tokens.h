// The "added_tokens" of tokenizer.json: texts that become one id before anything else is looked at.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/json_fwd.h"
#include "text/normalizer.h"
#include "text/span.h"
#include "text/vocabulary.h"

namespace sft {

struct AddedToken {
  std::string content;
  std::string shown;  // what decoding gives: the normalized content of a normalized token
  int32_t id = Vocabulary::kNone;
  bool special = false;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // swallows white space before it
  bool rstrip = false;       // swallows white space behind it
  bool normalized = false;   // looked for in the normalized text
};

// A part of a text: an added token, or what lies between two (id kNone).
struct TokenPart {
  Span span;
  int32_t id;
};

// Finds the longest of some texts at the first place where one stands.
class TokenMatcher {
 public:
  void add(std::string_view text, size_t token);
  void finish();
  bool empty() const { return nodes_.size() == 1; }

  struct Match {
    size_t begin, end, token;
  };
  // The first match at or behind `from`; token SIZE_MAX when there is none.
  Match find(std::string_view text, size_t from, Budget& budget) const;

 private:
  struct Node {
    std::vector<std::pair<unsigned char, uint32_t>> children;  // sorted by byte
    size_t token = SIZE_MAX;
  };
  const uint32_t* child(uint32_t node, unsigned char byte) const;
  size_t find_start(std::string_view text, size_t from) const;

  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::array<bool, 256> starts_{};
  int only_start_ = -1;  // the one byte all texts begin with
};

class AddedTokens {
 public:
  // Adds a list of tokens, giving each the id that Hugging Face's library gives it: the one in the
  // vocabulary, else the next free one. M110 for a malformed entry or an id taken twice.
  void add(const Json& list, const Vocabulary& vocabulary, const std::string& where);
  // Prepares matching once all are there. With `split_special`, special tokens are not looked for
  // in a text: there they are spelled out like any other words.
  void finish(const Normalizer* normalizer, std::string_view budget_subject, bool split_special);

  // Appends the parts of `text` in order; of the two passes, one looks at the text as given, one at
  // normalized text.
  void find(std::string_view text, bool normalized, Budget& budget,
            std::vector<TokenPart>& parts) const;
  bool any(bool normalized) const { return !(normalized ? in_normalized_ : in_original_).empty(); }

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  const AddedToken* by_id(int32_t id) const;
  const AddedToken* by_content(std::string_view content) const;
  bool is_special(int32_t id) const;
  int32_t id_end() const { return id_end_; }

 private:
  void add_one(AddedToken token, const Vocabulary& vocabulary, const std::string& where);

  std::vector<AddedToken> tokens_;
  std::unordered_map<int32_t, size_t> by_id_;
  std::unordered_map<std::string, size_t> by_content_;
  TokenMatcher in_original_, in_normalized_;
  int32_t id_end_ = 0;
  bool split_special_ = false;
};

}  // namespace sft
