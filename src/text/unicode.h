// UTF-8 and the character classes that tokenizers use, as Hugging Face's library sees them.
//
// All functions that decode expect valid UTF-8: `find_invalid_utf8` is asked first, once, where
// text enters. Classes come from one table of 0x110000 entries that is built on first use and never
// changes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sft {

// The bits of a character's class; a letter is upper | lower | other.
enum CharClass : uint16_t {
  kUpperLetter = 0x1,
  kLowerLetter = 0x2,
  kOtherLetter = 0x4,
  kLetter = 0x7,
  kMark = 0x8,
  kDigit = 0x10,
  kOtherNumber = 0x20,
  kNumber = 0x30,
  kSpace = 0x40,
  kPunctuation = 0x80,
  kRegexWord = 0x100,     // \w of the regex engine
  kPlainWord = 0x200,     // \w of the "Whitespace" pre-tokenizer and of single_word
  kNumeric = 0x400,       // what the "Digits" pre-tokenizer cuts at
  kAccent = 0x800,        // what the "StripAccents" normalizer removes
  kNfcUnsafe = 0x1000,    // NFC may change it, or join it to what stands before it
  kNormalInert = 0x2000,  // unknown to the library's normalization, which leaves it alone
  kControl = 0x4000,      // what the "BertNormalizer" cleans away
  kNonspacing = 0x8000    // what it strips as an accent
};

const uint16_t* char_classes();

// A bit for each character, 64 to an element: \p{P} or \p{S} of the regex engine.
const uint64_t* symbol_bits();

// The script of a character as the "UnicodeScripts" pre-tokenizer sees it: a number that means
// nothing but itself; 0 for the characters that it never cuts at.
uint8_t script_of(uint32_t code);

struct DecodedChar {
  uint32_t code;
  uint32_t size;  // bytes, 1 to 4
};

inline DecodedChar decode_utf8(const char* p) {
  const auto* u = reinterpret_cast<const unsigned char*>(p);
  const uint32_t c = u[0];
  if (c < 0x80) {
    return {c, 1};
  }
  if (c < 0xE0) {
    return {(c & 0x1F) << 6 | (u[1] & 0x3Fu), 2};
  }
  if (c < 0xF0) {
    return {(c & 0xF) << 12 | (u[1] & 0x3Fu) << 6 | (u[2] & 0x3Fu), 3};
  }
  return {(c & 7) << 18 | (u[1] & 0x3Fu) << 12 | (u[2] & 0x3Fu) << 6 | (u[3] & 0x3Fu), 4};
}

inline bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

// The character that ends just before `end`, which is not the beginning of the text.
DecodedChar decode_utf8_before(std::string_view text, size_t end);

void append_utf8(std::string& out, uint32_t code);

// The position of the first byte that is not valid UTF-8, or npos.
size_t find_invalid_utf8(std::string_view text);
bool is_ascii(std::string_view text);

// Appends `bytes` with each maximal invalid part replaced by U+FFFD.
void append_lossy_utf8(std::string& out, std::string_view bytes);
// How many bytes at the end of `bytes` are the beginning of a character that is not complete, 0-3.
size_t incomplete_utf8_tail(std::string_view bytes);

// Lower case of one character (U+0130 aside, which becomes two and is the caller's to handle).
uint32_t lower_char(uint32_t code);

// Characters newer than the regex library's tables, to be added to its \p{...} classes.
struct NewerRun {
  uint32_t first, last;
  char category[3];
};
struct NewerRuns {
  const NewerRun* begin_;
  size_t size_;
  const NewerRun* begin() const { return begin_; }
  const NewerRun* end() const { return begin_ + size_; }
};
NewerRuns newer_runs();

}  // namespace sft
