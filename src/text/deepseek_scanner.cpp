#include "text/deepseek_scanner.h"

#include "text/word_cursor.h"

namespace sft {
namespace {

constexpr uint16_t kWord = kLetter | kMark;
constexpr int kMaxDigits = 3;

bool is_ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_cjk(uint32_t code) {
  return (code >= 0x4E00 && code <= 0x9FA5) || (code >= 0x3040 && code <= 0x30FF);
}

// What the first two expressions leave: a text without numbers, of either kind only.
struct Segment : Cursor {
  const uint64_t* symbols;

  // Whether punctuation or a symbol stands at `i`.
  bool symbol_at(uint32_t i) const {
    if (i >= end) {
      return false;
    }
    const uint32_t code = decode_utf8(text + i).code;
    return (symbols[code >> 6] >> (code & 63) & 1) != 0;
  }

  uint32_t symbols_from(uint32_t i) const {
    while (symbol_at(i)) {
      i += decode_utf8(text + i).size;
    }
    return skip_newlines(i);
  }

  // The end of the match that begins at `i`, or `i` when none does.
  uint32_t match(uint32_t i) const {
    uint32_t size, next_size = 0;
    const uint16_t kind = class_at(i, &size);
    if ((kind & kWord) != 0) {
      return skip(i + size, kWord);
    }
    const uint32_t next = i + size;
    if (symbol_at(i)) {
      if (size == 1 && next < end && is_ascii_letter(text[next])) {
        uint32_t stop = next + 1;
        while (stop < end && is_ascii_letter(text[stop])) {
          ++stop;
        }
        return stop;
      }
      return symbols_from(i);
    }
    if (!is_newline(i) && next < end && (class_at(next, &next_size) & kWord) != 0) {
      return skip(next + next_size, kWord);
    }
    if (text[i] == ' ' && symbol_at(next)) {
      return symbols_from(next);
    }
    return (kind & kSpace) != 0 ? white_space(i) : i;
  }

  // Up to its last line end, where it has one.
  uint32_t white_space(uint32_t i) const {
    const uint32_t run_end = skip(i, kSpace);
    for (uint32_t at = run_end; at > i; --at) {
      if (is_newline(at - 1)) {
        return at;
      }
    }
    return spaces(i, run_end);
  }

  // Characters that no expression matches stay together between matches.
  void cut(uint32_t i, std::vector<Span>& words) const {
    bool in_gap = false;
    while (i < end) {
      const uint32_t stop = match(i);
      if (stop != i) {
        words.push_back({i, stop});
        in_gap = false;
        i = stop;
        continue;
      }
      const uint32_t next = i + decode_utf8(text + i).size;
      if (in_gap) {
        words.back().end = next;
      } else {
        words.push_back({i, next});
      }
      in_gap = true;
      i = next;
    }
  }
};

}  // namespace

void cut_deepseek(const char* text, uint32_t begin, uint32_t end, std::vector<Span>& words) {
  const Cursor cursor{text, end, char_classes()};
  const uint64_t* symbols = symbol_bits();
  uint32_t size;
  for (uint32_t i = begin; i < end;) {
    if ((cursor.class_at(i, &size) & kNumber) != 0) {
      uint32_t stop = i + size;
      for (int n = 1; n < kMaxDigits && stop < end; ++n, stop += size) {
        if ((cursor.class_at(stop, &size) & kNumber) == 0) {
          break;
        }
      }
      words.push_back({i, stop});
      i = stop;
      continue;
    }
    const bool cjk = is_cjk(decode_utf8(text + i).code);
    uint32_t stop = i + size;
    while (stop < end) {
      const DecodedChar c = decode_utf8(text + stop);
      if (is_cjk(c.code) != cjk || (cursor.classes[c.code] & kNumber) != 0) {
        break;
      }
      stop += c.size;
    }
    Segment{{text, stop, cursor.classes}, symbols}.cut(i, words);
    i = stop;
  }
}

}  // namespace sft
