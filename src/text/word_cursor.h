// A walk over a text by character classes, for the scanners that cut it into words. Used by
// word_scanner.cpp and deepseek_scanner.cpp.
#pragma once

#include <cstdint>

#include "text/unicode.h"

namespace sft {

inline constexpr uint16_t kNotOther = kLetter | kNumber | kSpace;

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

}  // namespace sft
