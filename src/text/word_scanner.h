// Hand-written equals of the regular expressions that most byte-level tokenizers cut words with
// (GPT-2, cl100k, o200k and their kin): the same cuts, many times faster. Used by Pattern and the
// ByteLevel stage. A new expression of a known kind is one line in the table of word_scanner.cpp.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "text/span.h"

namespace sft {

class WordScanner {
 public:
  // The scanner that equals this expression, or null.
  static std::unique_ptr<WordScanner> recognise(std::string_view regex);

  // The scanner that equals splits by these expressions in turn, each on the pieces that the one
  // before left and each keeping matches and the rest as pieces; or null.
  static std::unique_ptr<WordScanner> recognise_sequence(std::span<const std::string_view> regexes);

  // Cuts [begin, end) of `text` (valid UTF-8, cut at characters) and appends the words to `words`.
  void scan(const char* text, uint32_t begin, uint32_t end, std::vector<Span>& words) const {
    cut_(text, begin, end, words);
  }

 private:
  using Cut = void (*)(const char* text, uint32_t begin, uint32_t end, std::vector<Span>& words);
  explicit WordScanner(Cut cut) : cut_(cut) {}
  Cut cut_;
};

}  // namespace sft
