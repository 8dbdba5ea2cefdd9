// Python's view of text, for the template interpreter: a string is a sequence of code points held
// as UTF-8. Positions and lengths are in code points unless a name says bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/budget.h"

namespace sft::jinja {

struct CodePoint {
  char32_t value;
  size_t bytes;  // it takes in the text, at least 1 (a stray byte is U+FFFD and takes 1)
};

CodePoint decode(std::string_view text, size_t byte);
void append(std::string& out, char32_t code_point);
int64_t length(std::string_view text);
// The byte where code point `index` starts; the text's size when there are not so many.
size_t byte_offset(std::string_view text, int64_t index);
// Code points [start, stop) of the text, stop >= start >= 0.
std::string_view substring(std::string_view text, int64_t start, int64_t stop);
// The byte where `what` stands first (from byte `from` on), or last; npos when nowhere. Their time
// is linear in the text, whatever is looked for.
size_t find(std::string_view text, std::string_view what, size_t from = 0);
size_t find_last(std::string_view text, std::string_view what);
// What they are charged before they are called: `what` is looked through before the text is. Of
// several calls that go on behind what was found, each finding is kFound steps.
void charge_find(std::string_view text, std::string_view what, Budget& budget);
inline constexpr int64_t kFound = 4;

// Predicates as Python's str.isspace, isalpha, ... have them for one character.
bool is_space(char32_t c);
bool is_alpha(char32_t c);
bool is_decimal(char32_t c);
bool is_digit(char32_t c);
bool is_numeric(char32_t c);
bool is_upper(char32_t c);
bool is_lower(char32_t c);
bool is_title(char32_t c);
bool is_printable(char32_t c);
// str.islower / str.isupper: at least one cased letter, and none of the other case.
bool is_cased_text(std::string_view text, bool upper_case);

// strip(None) and strip(chars).
std::string_view strip_left(std::string_view text);
std::string_view strip_right(std::string_view text);
std::string_view without_last_word(std::string_view text);  // which ends with one
std::string_view strip_left(std::string_view text, std::string_view characters, Budget& budget);
std::string_view strip_right(std::string_view text, std::string_view characters, Budget& budget);

// What the functions below are charged before they are called: letters may become three.
void charge_case_change(std::string_view text, Budget& budget);
std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string title(std::string_view text);
std::string capitalize(std::string_view text);
std::string swap_case(std::string_view text);
std::string case_fold(std::string_view text);

// `text` with every (or the first `count`) occurrence of `from` replaced; count < 0 means all.
std::string replace(std::string_view text, std::string_view from, std::string_view to,
                    int64_t count, Budget& budget);
// Takes the first line off `text`, as str.splitlines() sees lines; it begins the text.
struct Line {
  size_t bytes = 0;      // without its end
  size_t end_bytes = 0;  // of "\n", "\r\n", ...; 0 for the text's end
};
Line first_line(std::string_view text);
std::string html_escape(std::string_view text, Budget& budget);

}  // namespace sft::jinja
