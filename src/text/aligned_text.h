// A text that may have been rewritten, and where each of its bytes comes from in the original text.
// The normalizers and pre-tokenizers rewrite it; the tokenizer turns token ranges into spans with
// it.
//
// As long as nothing is rewritten, nothing is copied. Origins are kept only when asked for. How
// much a text may grow is the budget's: a tokenizer file may replace each character by a thousand.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/budget.h"
#include "text/span.h"
#include "text/unicode.h"

namespace sft {

// What turning a text of so many bytes into tokens, or tokens into it, may take: some twenty times
// its size, which no real tokenizer comes near, and a second for a few thousand bytes. M119 beyond.
Budget tokenizer_budget(size_t text_bytes, std::string_view subject);

class AlignedText {
 public:
  // Starts over with a part of the original that stands at byte `base` of it. The original outlives
  // this, and so does the budget.
  void reset(std::string_view original, uint32_t base, bool track_origins, Budget& budget);
  // Becomes the part [begin, end) of another text.
  void assign_part(const AlignedText& whole, uint32_t begin, uint32_t end);

  std::string_view text() const { return rewritten_ ? std::string_view(owned_) : original_; }
  bool tracks_origins() const { return track_; }
  Budget& budget() const { return *budget_; }

  // Where the character that holds byte `i` of text() comes from.
  Span origin(uint32_t i) const;
  // The same for the byte before `i`; at the front, the empty place where the text begins.
  Span origin_before(uint32_t i) const;
  // Where the range [begin, end) of text() comes from, whole characters.
  Span origin(uint32_t begin, uint32_t end) const;

  // Replaces the text; `origins` has one entry a byte when origins are tracked.
  void assign(std::string text, std::vector<Span> origins);

  // Keeps only [begin, end) of the text.
  void trim(uint32_t begin, uint32_t end);

  // One character of a rewritten text: 0 takes the place of the next old character, n > 0 is
  // inserted after it, -n also swallows the n old characters that follow.
  using Change = std::pair<uint32_t, int>;
  void transform(const std::vector<Change>& changes);

 private:
  std::string_view original_;
  std::string owned_;
  std::vector<Span> origins_;
  Budget* budget_ = nullptr;
  uint32_t base_ = 0;
  bool rewritten_ = false;
  bool track_ = false;
};

// Collects a rewritten text piece by piece.
class TextRewriter {
 public:
  explicit TextRewriter(const AlignedText& source) : source_(source) {}

  void copy(uint32_t begin, uint32_t end);       // as it stands in the source
  void put(std::string_view text, Span origin);  // new text that comes from `origin`
  void put_char(uint32_t code, Span origin);
  uint32_t size() const { return static_cast<uint32_t>(text_.size()); }
  void finish(AlignedText& target) { target.assign(std::move(text_), std::move(origins_)); }

 private:
  void expect(size_t bytes) {
    source_.budget().copy(bytes);
    source_.budget().room(static_cast<int64_t>(text_.size() + bytes));
  }

  const AlignedText& source_;
  std::string text_;
  std::vector<Span> origins_;
};

}  // namespace sft
