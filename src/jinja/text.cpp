#include "jinja/text.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>

#include "jinja/case.h"

namespace sft::jinja {

namespace {

bool ascii(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) {
      return false;
    }
  }
  return true;
}

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool contains(std::string_view set, char32_t c) {
  for (size_t i = 0; i < set.size();) {
    const CodePoint p = decode(set, i);
    if (p.value == c) {
      return true;
    }
    i += p.bytes;
  }
  return false;
}

// The start of the code point that ends at byte `end`.
size_t previous(std::string_view text, size_t end) {
  size_t start = end - 1;
  while (start > 0 && end - start < 4 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) {
    --start;
  }
  return start + decode(text, start).bytes == end ? start : end - 1;
}

template <typename Test>
std::string_view strip_left_if(std::string_view text, Test test) {
  size_t i = 0;
  while (i < text.size()) {
    const CodePoint p = decode(text, i);
    if (!test(p.value)) {
      break;
    }
    i += p.bytes;
  }
  return text.substr(i);
}

template <typename Test>
std::string_view strip_right_if(std::string_view text, Test test) {
  while (!text.empty()) {
    const size_t start = previous(text, text.size());
    if (!test(decode(text, start).value)) {
      break;
    }
    text = text.substr(0, start);
  }
  return text;
}

bool cased(char32_t c) { return is_upper(c) || is_lower(c) || is_title(c); }

// A capital sigma ends a word when a cased letter stands before it and none after it.
bool final_sigma(std::string_view text, size_t byte) {
  if (byte == 0 || !cased(decode(text, previous(text, byte)).value)) {
    return false;
  }
  const size_t next = byte + decode(text, byte).bytes;
  return next >= text.size() || !cased(decode(text, next).value);
}

void append_lower(std::string& out, std::string_view text, size_t byte, char32_t c) {
  if (c == 0x3A3) {
    append(out, final_sigma(text, byte) ? 0x3C2 : 0x3C3);
  } else if (c == 0x130) {
    out += "i\xCC\x87";
  } else {
    append(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
  }
}

void append_upper(std::string& out, char32_t c) {
  if (const SpecialCase* special = special_case(c)) {
    for (const char32_t u : special->upper) {
      if (u != 0) {
        append(out, u);
      }
    }
  } else {
    append(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
  }
}

void append_title(std::string& out, char32_t c) {
  if (const SpecialCase* special = special_case(c)) {
    for (const char32_t t : special->title) {
      if (t != 0) {
        append(out, t);
      }
    }
  } else {
    append(out, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))));
  }
}

// Calls `change(out, byte, c)` for every code point.
template <typename Change>
std::string map(std::string_view text, Change change) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const CodePoint p = decode(text, i);
    change(out, i, p.value);
    i += p.bytes;
  }
  return out;
}

}  // namespace

CodePoint decode(std::string_view text, size_t byte) {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = at(byte);
  if (first < 0x80) {
    return {first, 1};
  }
  const size_t bytes = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || byte + bytes > text.size()) {
    return {0xFFFD, 1};
  }
  char32_t value = first & (0xFF >> (bytes + 1));
  for (size_t i = 1; i < bytes; ++i) {
    if ((at(byte + i) & 0xC0) != 0x80) {
      return {0xFFFD, 1};
    }
    value = (value << 6) | (at(byte + i) & 0x3F);
  }
  return {value, bytes};
}

void append(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | (c >> 6));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | (c >> 12));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (c >> 18));
    out += static_cast<char>(0x80 | ((c >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

int64_t length(std::string_view text) {
  int64_t n = 0;
  for (const char c : text) {
    n += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }
  return n;
}

size_t byte_offset(std::string_view text, int64_t index) {
  size_t byte = 0;
  for (; index > 0 && byte < text.size(); --index) {
    byte += decode(text, byte).bytes;
  }
  return byte;
}

std::string_view substring(std::string_view text, int64_t start, int64_t stop) {
  const size_t first = byte_offset(text, start);
  const std::string_view rest = text.substr(first);
  return rest.substr(0, byte_offset(rest, stop - start));
}

size_t find(std::string_view text, std::string_view what, size_t from) {
  if (from > text.size()) {
    return std::string_view::npos;
  }
  if (what.empty()) {
    return from;
  }
  const void* found = memmem(text.data() + from, text.size() - from, what.data(), what.size());
  return found == nullptr ? std::string_view::npos
                          : static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t find_last(std::string_view text, std::string_view what) {
  constexpr size_t kShort = 16;  // so that comparing at each place is as good as linear
  if (what.size() <= kShort || what.size() > text.size()) {
    return text.rfind(what);
  }
  const std::string backward(text.rbegin(), text.rend());
  const size_t found = find(backward, std::string(what.rbegin(), what.rend()));
  return found == std::string_view::npos ? found : text.size() - found - what.size();
}

void charge_find(std::string_view text, std::string_view what, Budget& budget) {
  budget.scan(text.size());
  if (what.size() <= text.size()) {
    budget.scan(3 * what.size());
  }
}

bool is_space(char32_t c) {
  if (c < 0x80) {
    return c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F);
  }
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_alpha(char32_t c) {
  const auto k = category(c);
  return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool is_decimal(char32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; }

bool is_digit(char32_t c) {
  return is_decimal(c) || c == 0xB2 || c == 0xB3 || c == 0xB9 || (c >= 0x2070 && c <= 0x2079) ||
         (c >= 0x2080 && c <= 0x2089) || (c >= 0x2460 && c <= 0x2468);
}

bool is_numeric(char32_t c) {
  const auto k = category(c);
  return k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO;
}

bool is_upper(char32_t c) {
  return c < 0x80 ? c >= 'A' && c <= 'Z' : category(c) == UTF8PROC_CATEGORY_LU;
}
bool is_lower(char32_t c) {
  return c < 0x80 ? c >= 'a' && c <= 'z'
                  : category(c) == UTF8PROC_CATEGORY_LL || c == 0xAA || c == 0xBA;
}
bool is_title(char32_t c) { return c >= 0x80 && category(c) == UTF8PROC_CATEGORY_LT; }

bool is_printable(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    case UTF8PROC_CATEGORY_ZS:
      return c == ' ';
    default:
      return true;
  }
}

bool is_cased_text(std::string_view text, bool upper_case) {
  bool any = false;
  for (size_t i = 0; i < text.size();) {
    const CodePoint p = decode(text, i);
    if (is_title(p.value) || (upper_case ? is_lower(p.value) : is_upper(p.value))) {
      return false;
    }
    any = any || is_lower(p.value) || is_upper(p.value);
    i += p.bytes;
  }
  return any;
}

std::string_view strip_left(std::string_view text) { return strip_left_if(text, is_space); }
std::string_view strip_right(std::string_view text) { return strip_right_if(text, is_space); }
std::string_view without_last_word(std::string_view text) {
  return strip_right_if(text, [](char32_t c) { return !is_space(c); });
}
std::string_view strip_left(std::string_view text, std::string_view set, Budget& budget) {
  return strip_left_if(text, [&](char32_t c) {
    budget.scan(set.size());
    return contains(set, c);
  });
}
std::string_view strip_right(std::string_view text, std::string_view set, Budget& budget) {
  return strip_right_if(text, [&](char32_t c) {
    budget.scan(set.size());
    return contains(set, c);
  });
}

void charge_case_change(std::string_view text, Budget& budget) {
  budget.step(2 * static_cast<int64_t>(text.size()) + 1);
  budget.room(ascii(text) ? static_cast<int64_t>(text.size())
                          : static_cast<int64_t>(text.size()) * 12);
}

std::string upper(std::string_view text) {
  if (ascii(text)) {
    std::string out(text);
    for (char& c : out) {
      c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
    }
    return out;
  }
  return map(text, [](std::string& out, size_t, char32_t c) { append_upper(out, c); });
}

std::string lower(std::string_view text) {
  if (ascii(text)) {
    std::string out(text);
    for (char& c : out) {
      c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    }
    return out;
  }
  return map(text,
             [&](std::string& out, size_t byte, char32_t c) { append_lower(out, text, byte, c); });
}

std::string title(std::string_view text) {
  bool inside = false;
  return map(text, [&](std::string& out, size_t byte, char32_t c) {
    if (inside) {
      append_lower(out, text, byte, c);
    } else {
      append_title(out, c);
    }
    inside = cased(c);
  });
}

std::string capitalize(std::string_view text) {
  return map(text, [&](std::string& out, size_t byte, char32_t c) {
    if (byte == 0) {
      append_title(out, c);
    } else {
      append_lower(out, text, byte, c);
    }
  });
}

std::string swap_case(std::string_view text) {
  return map(text, [&](std::string& out, size_t byte, char32_t c) {
    if (is_upper(c)) {
      append_lower(out, text, byte, c);
    } else if (is_lower(c)) {
      append_upper(out, c);
    } else {
      append(out, c);
    }
  });
}

std::string case_fold(std::string_view text) {
  if (ascii(text)) {
    return lower(text);
  }
  utf8proc_uint8_t* folded = nullptr;
  const auto bytes =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &folded, UTF8PROC_CASEFOLD);
  if (bytes < 0) {
    return lower(text);
  }
  std::string out(reinterpret_cast<char*>(folded), static_cast<size_t>(bytes));
  free(folded);
  return out;
}

std::string replace(std::string_view text, std::string_view from, std::string_view to,
                    int64_t count, Budget& budget) {
  charge_find(text, from, budget);
  BoundedText out(budget);
  size_t at = 0;
  if (from.empty()) {  // between every two characters, and at both ends
    for (; count != 0; --count) {
      out += to;
      if (at >= text.size()) {
        return out.take();
      }
      const size_t bytes = decode(text, at).bytes;
      out += text.substr(at, bytes);
      at += bytes;
    }
    out += text.substr(at);
    return out.take();
  }
  for (; count != 0; --count) {
    const size_t found = find(text, from, at);
    if (found == std::string_view::npos) {
      break;
    }
    budget.step(kFound);
    out += text.substr(at, found - at);
    out += to;
    at = found + from.size();
  }
  out += text.substr(at);
  return out.take();
}

Line first_line(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const CodePoint p = decode(text, i);
    const char32_t c = p.value;
    if ((c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
        c == 0x2029) {
      const bool two = c == '\r' && i + 1 < text.size() && text[i + 1] == '\n';
      return {i, p.bytes + (two ? 1 : 0)};
    }
    i += p.bytes;
  }
  return {text.size(), 0};
}

std::string html_escape(std::string_view text, Budget& budget) {
  budget.scan(text.size());
  BoundedText out(budget);
  for (size_t at = 0; at < text.size();) {
    const size_t next = std::min(text.find_first_of("&<>\"'", at), text.size());
    out += text.substr(at, next - at);
    if (next < text.size()) {
      const char c = text[next];
      out += c == '&'   ? "&amp;"
             : c == '<' ? "&lt;"
             : c == '>' ? "&gt;"
             : c == '"' ? "&#34;"
                        : "&#39;";
    }
    at = next + 1;
  }
  return out.take();
}

}  // namespace sft::jinja
