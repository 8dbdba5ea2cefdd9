#include "text/word_scanner.h"

#include "text/unicode.h"
#include "text/word_regexes.h"

namespace sft {
namespace {

constexpr uint16_t kNotOther = kLetter | kNumber | kSpace;

// One pass over a text. Each function takes and gives a position in it.
struct Cursor {
  const char* text;
  uint32_t end;
  const uint16_t* classes;

  // The class of the character at `i` (i < end) and its size.
  uint16_t class_at(uint32_t i, uint32_t* size) const {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x80) {
      *size = 1;
      return classes[byte];
    }
    const DecodedChar c = decode_utf8(text + i);
    *size = c.size;
    return classes[c.code];
  }

  uint32_t skip(uint32_t i, uint16_t bits) const {
    uint32_t size;
    while (i < end && (class_at(i, &size) & bits) != 0) {
      i += size;
    }
    return i;
  }
  uint32_t skip_other(uint32_t i) const {
    uint32_t size;
    while (i < end && (class_at(i, &size) & kNotOther) == 0) {
      i += size;
    }
    return i;
  }
  bool is_newline(uint32_t i) const { return i < end && (text[i] == '\n' || text[i] == '\r'); }
  uint32_t skip_newlines(uint32_t i) const {
    while (is_newline(i)) {
      ++i;
    }
    return i;
  }

  // The end of 's 't 're 've 'm 'll 'd at `i`, where an apostrophe stands; or `i`.
  template <bool any_case>
  uint32_t contraction(uint32_t i) const {
    const auto lower = [&](uint32_t at) -> char {
      const char c = at < end ? text[at] : '\0';
      return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    };
    const char first = lower(i + 1), second = lower(i + 2);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') {
      return i + 2;
    }
    if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') ||
        (first == 'l' && second == 'l')) {
      return i + 3;
    }
    // The long s, U+017F, is an s in another case.
    if (any_case && i + 2 < end && text[i + 1] == '\xC5' && text[i + 2] == '\xBF') {
      return i + 3;
    }
    return i;
  }

  // White space that begins at `i`: all of it at the end of the text, else all but its last
  // character, which belongs to the next word, unless it is the only one.
  uint32_t spaces(uint32_t i, uint32_t run_end) const {
    if (run_end == end) {
      return end;
    }
    uint32_t last = run_end - 1;
    while (is_continuation(text[last])) {
      --last;
    }
    return last > i ? last : run_end;
  }
};

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

template <int max_digits>
uint32_t next_modern(const Cursor& c, uint32_t i) {
  uint32_t size;
  const uint16_t kind = c.class_at(i, &size);
  if ((kind & kLetter) != 0) {
    return c.skip(i + size, kLetter);
  }
  if ((kind & kNumber) != 0) {
    i += size;
    for (int n = 1; n < max_digits && i < c.end && (c.class_at(i, &size) & kNumber) != 0; ++n) {
      i += size;
    }
    return i;
  }
  if (c.text[i] == '\'') {
    if (const uint32_t stop = c.contraction<true>(i); stop != i) {
      return stop;
    }
  }
  const uint32_t next = i + size;
  uint32_t next_size = 0;
  const uint16_t next_kind = next < c.end ? c.class_at(next, &next_size) : uint16_t{kSpace};
  if ((next_kind & kLetter) != 0 && !c.is_newline(i)) {
    return c.skip(next + next_size, kLetter);
  }
  if ((kind & kSpace) == 0) {
    return c.skip_newlines(c.skip_other(next));
  }
  if (c.text[i] == ' ' && (next_kind & kNotOther) == 0) {
    return c.skip_newlines(c.skip_other(next + next_size));
  }
  const uint32_t run_end = c.skip(i, kSpace);
  for (uint32_t at = run_end; at > i; --at) {
    if (c.is_newline(at - 1)) {
      return at;
    }
  }
  return c.spaces(i, run_end);
}

template <typename Next>
void cut(const Cursor& cursor, uint32_t begin, Next next, std::vector<Span>& words) {
  for (uint32_t i = begin; i < cursor.end;) {
    const uint32_t stop = next(cursor, i);
    words.push_back({i, stop});
    i = stop;
  }
}

}  // namespace

std::unique_ptr<WordScanner> WordScanner::recognise(std::string_view regex) {
  const auto make = [](Kind kind) { return std::unique_ptr<WordScanner>(new WordScanner(kind)); };
  if (regex == kGpt2Regex) {
    return make(Kind::gpt2);
  }
  if (regex == kQwen2Regex) {
    return make(Kind::one_digit);
  }
  return regex == kLlama3Regex ? make(Kind::three_digits) : nullptr;
}

void WordScanner::scan(const char* text, uint32_t begin, uint32_t end,
                       std::vector<Span>& words) const {
  const Cursor cursor{text, end, char_classes()};
  switch (kind_) {
    case Kind::gpt2:
      cut(cursor, begin, [](const Cursor& c, uint32_t i) { return next_gpt2(c, i); }, words);
      break;
    case Kind::one_digit:
      cut(cursor, begin, [](const Cursor& c, uint32_t i) { return next_modern<1>(c, i); }, words);
      break;
    case Kind::three_digits:
      cut(cursor, begin, [](const Cursor& c, uint32_t i) { return next_modern<3>(c, i); }, words);
      break;
  }
}

}  // namespace sft
