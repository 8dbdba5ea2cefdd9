#include "text/word_scanner.h"

#include <algorithm>
#include <functional>
#include <string>

#include "text/deepseek_scanner.h"
#include "text/unicode.h"
#include "text/word_cursor.h"
#include "text/word_regexes.h"

namespace sft {
namespace {

uint32_t next_gpt2(const Cursor& c, uint32_t i) {
  uint32_t size;
  if (c.text[i] == '\'') {
    if (const uint32_t stop = c.contraction<false>(i); stop != i) {
      return stop;
    }
  }
  uint32_t start = i;
  uint16_t kind = c.class_at(i, &size);
  if (c.text[i] == ' ' && i + 1 < c.end) {
    start = i + 1;
    kind = c.class_at(start, &size);
  }
  if ((kind & kLetter) != 0) {
    return c.skip(start + size, kLetter);
  }
  if ((kind & kNumber) != 0) {
    return c.skip(start + size, kNumber);
  }
  if ((kind & kSpace) == 0) {
    return c.skip_other(start + size);
  }
  return c.spaces(i, c.skip(i, kSpace));
}

// How the expressions since cl100k differ.
struct Style {
  int max_digits = 3;              // digits of a number that stay together
  uint16_t letters = kLetter;      // what words are made of
  bool cased = false;              // words also end where a capital begins (o200k)
  bool endings = true;             // 's and the like: a word of their own, or a cased word's end
  bool slashes = false;            // symbols take a / behind them as they take line ends
  bool keeps_last_spaces = false;  // white space at the very end is one piece
};

constexpr uint16_t kUpperish = kUpperLetter | kOtherLetter | kMark;
constexpr uint16_t kLowerish = kLowerLetter | kOtherLetter | kMark;

// The end of a cased word at `i`, or `i`: capitals and small letters, in this order, where
// characters without case are both.
template <Style style>
uint32_t cased_word(const Cursor& c, uint32_t i) {
  uint32_t size = 0, end = i, after_caseless = i;
  for (; end < c.end; end += size) {
    const uint16_t kind = c.class_at(end, &size);
    if ((kind & kUpperish) == 0) {
      break;
    }
    if ((kind & kLowerish) != 0) {
      after_caseless = end + size;
    }
  }
  if (end < c.end && (c.class_at(end, &size) & kLowerish) != 0) {
    end = c.skip(end, kLowerish);
  } else if (after_caseless > i) {
    end = after_caseless;  // the capitals behind it begin a word of their own
  }
  if (style.endings && end > i && end < c.end && c.text[end] == '\'') {
    end = c.contraction<true>(end);
  }
  return end;
}

// A word that begins with the mark at `i`: whether its first alternative is a word that the mark
// only leads, which wants a small letter or one without case behind it.
bool mark_leads(const Cursor& c, uint32_t next) {
  uint32_t size;
  bool caseless = false;
  uint32_t end = next;
  for (; end < c.end; end += size) {
    const uint16_t kind = c.class_at(end, &size);
    if ((kind & kUpperish) == 0) {
      break;
    }
    caseless = caseless || (kind & kLowerish) != 0;
  }
  return caseless || (end < c.end && (c.class_at(end, &size) & kLowerish) != 0);
}

// Symbols at `i` and what may follow them.
template <Style style>
uint32_t symbols(const Cursor& c, uint32_t i) {
  uint32_t size;
  while (i < c.end && (c.class_at(i, &size) & (kNotOther | style.letters)) == 0) {
    i += size;
  }
  while (c.is_newline(i) || (style.slashes && i < c.end && c.text[i] == '/')) {
    ++i;
  }
  return i;
}

template <Style style>
uint32_t next_modern(const Cursor& c, uint32_t i) {
  uint32_t size;
  const uint16_t kind = c.class_at(i, &size);
  if (!style.cased && (kind & style.letters) != 0) {
    return c.skip(i + size, style.letters);
  }
  if ((kind & kNumber) != 0) {
    i += size;
    for (int n = 1; n < style.max_digits && i < c.end && (c.class_at(i, &size) & kNumber) != 0;
         ++n) {
      i += size;
    }
    return i;
  }
  if (!style.cased && style.endings && c.text[i] == '\'') {
    if (const uint32_t stop = c.contraction<true>(i); stop != i) {
      return stop;
    }
  }
  const uint32_t next = i + size;
  uint32_t next_size = 0;
  const uint16_t next_kind = next < c.end ? c.class_at(next, &next_size) : uint16_t{kSpace};
  if constexpr (style.cased) {
    const bool may_lead = (kind & kLetter) == 0 && !c.is_newline(i);
    if (may_lead && (next_kind & (kLetter | kMark)) != 0 &&
        ((kind & kMark) == 0 || mark_leads(c, next))) {
      return cased_word<style>(c, next);
    }
    if ((kind & (kLetter | kMark)) != 0) {
      return cased_word<style>(c, i);
    }
  } else if ((next_kind & style.letters) != 0 && !c.is_newline(i)) {
    return c.skip(next + next_size, style.letters);
  }
  if ((kind & kSpace) == 0) {
    return symbols<style>(c, i);
  }
  if (c.text[i] == ' ' && (next_kind & (kNotOther | style.letters)) == 0) {
    return symbols<style>(c, next);
  }
  const uint32_t run_end = c.skip(i, kSpace);
  if (style.keeps_last_spaces && run_end == c.end) {
    return run_end;
  }
  for (uint32_t at = run_end; at > i; --at) {
    if (c.is_newline(at - 1)) {
      return at;
    }
  }
  return c.spaces(i, run_end);
}

template <uint32_t (*next)(const Cursor&, uint32_t)>
void cut(const char* text, uint32_t begin, uint32_t end, std::vector<Span>& words) {
  const Cursor cursor{text, end, char_classes()};
  for (uint32_t i = begin; i < end;) {
    const uint32_t stop = next(cursor, i);
    words.push_back({i, stop});
    i = stop;
  }
}

template <Style style>
constexpr auto cut_modern = &cut<&next_modern<style>>;

struct Known {
  std::string_view regex;
  void (*cut)(const char*, uint32_t, uint32_t, std::vector<Span>&);
};
constexpr Known kKnown[] = {
    {kGpt2Regex, &cut<&next_gpt2>},
    {kQwen2Regex, cut_modern<Style{.max_digits = 1}>},
    {kQwen35Regex, cut_modern<Style{.max_digits = 1, .letters = kLetter | kMark}>},
    {kLlama3Regex, cut_modern<Style{}>},
    {kCl100kRegex, cut_modern<Style{}>},
    {kCl100kPossessiveRegex, cut_modern<Style{.max_digits = INT32_MAX, .keeps_last_spaces = true}>},
    {kO200kRegex, cut_modern<Style{.cased = true, .slashes = true}>},
    {kTekkenRegex,
     cut_modern<Style{.max_digits = 1, .cased = true, .endings = false, .slashes = true}>},
};

// Some files hold line ends as themselves where others write \r and \n.
std::string with_escapes(std::string_view regex) {
  std::string out;
  for (const char c : regex) {
    if (c == '\r' || c == '\n') {
      out += c == '\r' ? "\\r" : "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

std::unique_ptr<WordScanner> WordScanner::recognise(std::string_view regex) {
  for (const Known& known : kKnown) {
    if (with_escapes(regex) == known.regex) {
      return std::unique_ptr<WordScanner>(new WordScanner(known.cut));
    }
  }
  return nullptr;
}

std::unique_ptr<WordScanner> WordScanner::recognise_sequence(
    std::span<const std::string_view> regexes) {
  const bool known = std::ranges::equal(regexes, kDeepSeekRegexes, std::equal_to<>(), with_escapes);
  return known ? std::unique_ptr<WordScanner>(new WordScanner(&cut_deepseek)) : nullptr;
}

}  // namespace sft
