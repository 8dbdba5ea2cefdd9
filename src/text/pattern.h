// What a pre-tokenizer or normalizer cuts or replaces at: a literal text or a regular expression.
//
// A Pattern does not change after construction and may be used by many threads at once.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/budget.h"
#include "core/json_fwd.h"
#include "text/span.h"

namespace sft {

class WordScanner;

// A part of the text, either one match or what lies between two.
struct PatternPart {
  Span span;
  bool matched;
};

class Pattern {
 public:
  // M108 (naming `where`) when the expression cannot be compiled or may mean something else here.
  static Pattern regex(std::string_view oniguruma, const std::string& where);
  static Pattern literal(std::string text);
  // From {"Regex": ...} or {"String": ...} or a plain string; M100 otherwise.
  static Pattern from_json(const Json& json, const std::string& where);

  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;
  ~Pattern();

  // Appends the parts of `text`, in order and without gaps; spans are shifted by `offset`.
  // M115 when a regular expression gives up on the text.
  void find(std::string_view text, uint32_t offset, Budget& budget,
            std::vector<PatternPart>& parts) const;

  // The hand-written equal of this expression, which cuts a text into matches without gaps; or
  // null.
  const WordScanner* scanner() const { return scanner_.get(); }

 private:
  struct Compiled;
  Pattern();

  void find_literal(std::string_view text, uint32_t offset, std::vector<PatternPart>& parts) const;
  void find_regex(std::string_view text, uint32_t offset, Budget& budget,
                  std::vector<PatternPart>& parts) const;

  std::string source_, where_;
  std::unique_ptr<Compiled> compiled_;
  std::unique_ptr<WordScanner> scanner_;
};

}  // namespace sft
