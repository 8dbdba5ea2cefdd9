#include "jinja/lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "core/error.h"
#include "jinja/errors.h"
#include "jinja/text.h"

namespace sft::jinja {

namespace {

bool is_digit_char(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool is_name_char(char c) { return is_name_start(c) || is_digit_char(c); }

std::string normalize(std::string_view source, WhiteSpace space) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      i += i + 1 < source.size() && source[i + 1] == '\n';
    } else {
      out += source[i];
    }
  }
  if (space == WhiteSpace::trimmed && out.ends_with('\n')) {
    out.pop_back();
  }
  return out;
}

class Lexer {
 public:
  Lexer(std::string_view source, const std::string& name, WhiteSpace space)
      : source_(normalize(source, space)), name_(name), space_(space) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      text_until_tag();
    }
    push(TokenType::end, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail_here(std::string message) {
    fail_syntax(name_, line_, std::move(message));
  }

  void push(TokenType type, std::string text) {
    Token token;
    token.type = type;
    token.text = std::move(text);
    token.line = line_;
    tokens_.push_back(std::move(token));
  }

  // Moves to byte `to`, counting lines.
  void advance(size_t to) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    at_ = to;
  }

  bool looking_at(size_t byte, std::string_view what) const {
    return std::string_view(source_).substr(byte, what.size()) == what;
  }

  size_t skip_space(size_t byte) const {
    const std::string_view rest = std::string_view(source_).substr(byte);
    return byte + (rest.size() - strip_left(rest).size());
  }

  // The end of a tag that closes at `byte` with `sign` and `close`: what follows it is eaten as the
  // sign and trim_blocks say. 0 when the tag does not close there.
  size_t close_tag(size_t byte, std::string_view close, bool trim) const {
    if (looking_at(byte, close)) {
      const size_t after = byte + close.size();
      const bool eats = trim && space_ == WhiteSpace::trimmed;
      return eats && looking_at(after, "\n") ? after + 1 : after;
    }
    if (looking_at(byte, "-") && looking_at(byte + 1, close)) {
      return skip_space(byte + 1 + close.size());
    }
    if (trim && looking_at(byte, "+") && looking_at(byte + 1, close)) {
      return byte + 1 + close.size();
    }
    return 0;
  }

  void text_until_tag() {
    size_t tag = at_;
    for (;; ++tag) {
      tag = source_.find('{', tag);
      if (tag == std::string::npos || tag + 1 >= source_.size()) {
        tag = source_.size();
        break;
      }
      const char kind = source_[tag + 1];
      if (kind == '%' || kind == '{' || kind == '#') {
        break;
      }
    }
    if (tag == source_.size()) {
      push(TokenType::data, source_.substr(at_));
      advance(tag);
      return;
    }
    const char kind = source_[tag + 1];
    size_t inside = tag + 2;
    char sign = 0;
    if (inside < source_.size() && (source_[inside] == '-' || source_[inside] == '+')) {
      sign = source_[inside++];
    }
    push_text(std::string_view(source_).substr(at_, tag - at_), sign, kind == '{');
    advance(inside);
    if (kind == '#') {
      comment();
    } else if (kind == '{') {
      push(TokenType::variable_begin, "");
      expression("}}", TokenType::variable_end);
    } else if (const size_t body = raw_begins()) {
      raw(body);
    } else {
      push(TokenType::block_begin, "");
      expression("%}", TokenType::block_end);
    }
  }

  // Text before a tag: stripped when the tag has a "-", and freed of the blanks that indent a block
  // or comment tag (lstrip_blocks).
  void push_text(std::string_view text, char sign, bool variable) {
    if (sign == '-') {
      text = strip_right(text);
    } else if (sign != '+' && !variable && space_ == WhiteSpace::trimmed) {
      const size_t newline = text.rfind('\n');
      const size_t start = newline == std::string_view::npos ? 0 : newline + 1;
      if ((start > 0 || line_starting()) && strip_left(text.substr(start)).empty()) {
        text = text.substr(0, start);
      }
    }
    if (!text.empty()) {
      push(TokenType::data, std::string(text));
    }
  }

  bool line_starting() const { return at_ == 0 || source_[at_ - 1] == '\n'; }

  void comment() {
    for (size_t i = at_; i < source_.size(); ++i) {
      if (const size_t end = close_tag(i, "#}", true)) {
        advance(end);
        return;
      }
    }
    fail_here("a comment is not closed: #} is missing");
  }

  // Where the text of a `{% raw %}` begins when the tag entered is one; else 0.
  size_t raw_begins() const {
    size_t i = skip_space(at_);
    if (!looking_at(i, "raw")) {
      return 0;
    }
    i = skip_space(i + 3);
    return close_tag(i, "%}", false);
  }

  void raw(size_t body) {
    advance(body);
    for (size_t tag = source_.find("{%", at_); tag != std::string::npos;
         tag = source_.find("{%", tag + 1)) {
      size_t inside = tag + 2;
      char sign = 0;
      if (inside < source_.size() && (source_[inside] == '-' || source_[inside] == '+')) {
        sign = source_[inside++];
      }
      inside = skip_space(inside);
      if (!looking_at(inside, "endraw")) {
        continue;
      }
      if (const size_t end = close_tag(skip_space(inside + 6), "%}", true)) {
        push_text(std::string_view(source_).substr(at_, tag - at_), sign, false);
        advance(end);
        return;
      }
    }
    fail_here("{% raw %} is not closed: {% endraw %} is missing");
  }

  void expression(std::string_view close, TokenType close_type) {
    std::vector<char> open;
    const int begun = line_;
    for (;;) {
      advance(skip_space(at_));
      if (at_ >= source_.size()) {
        fail_syntax(name_, begun, fmt::format("a tag is not closed: {} is missing", close));
      }
      if (open.empty()) {
        if (const size_t end = close_tag(at_, close, close == "%}")) {
          push(close_type, "");
          advance(end);
          return;
        }
      }
      const char c = source_[at_];
      if (is_digit_char(c)) {
        number();
      } else if (is_name_start(c)) {
        size_t end = at_;
        while (end < source_.size() && is_name_char(source_[end])) {
          ++end;
        }
        push(TokenType::name, source_.substr(at_, end - at_));
        at_ = end;
      } else if (c == '\'' || c == '"') {
        string(c);
      } else {
        op(open);
      }
    }
  }

  void op(std::vector<char>& open) {
    constexpr std::string_view pairs[] = {"//", "**", "==", "!=", ">=", "<="};
    constexpr std::string_view singles = "+-/*%~[](){}><=.:|,;";
    std::string symbol = source_.substr(at_, 2);
    if (std::find(std::begin(pairs), std::end(pairs), symbol) == std::end(pairs)) {
      symbol.resize(1);
      if (singles.find(symbol[0]) == std::string_view::npos) {
        fail_here(fmt::format("unexpected character '{}'", symbol));
      }
    }
    const char c = symbol[0];
    if (c == '(' || c == '[' || c == '{') {
      open.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    } else if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back() != c) {
        fail_here(open.empty() ? fmt::format("unexpected '{}'", c)
                               : fmt::format("unexpected '{}', expected '{}'", c, open.back()));
      }
      open.pop_back();
    }
    at_ += symbol.size();
    push(TokenType::op, std::move(symbol));
  }

  // The digits from `byte` on, with single "_" between them; `digit` says which count.
  template <typename Digit>
  size_t digits(size_t byte, Digit digit) const {
    size_t end = byte;
    while (end < source_.size()) {
      if (digit(source_[end])) {
        ++end;
      } else if (source_[end] == '_' && end > byte && end + 1 < source_.size() &&
                 digit(source_[end + 1])) {
        ++end;
      } else {
        break;
      }
    }
    return end;
  }

  static std::string without_underscores(std::string text) {
    std::erase(text, '_');
    return text;
  }

  // Where a number with a fraction or an exponent ends; 0 when there is none.
  size_t real_end() const {
    if (at_ > 0 && source_[at_ - 1] == '.') {
      return 0;
    }
    size_t end = digits(at_, is_digit_char);
    bool real = false;
    if (end + 1 < source_.size() && source_[end] == '.' && is_digit_char(source_[end + 1])) {
      end = digits(end + 1, is_digit_char);
      real = true;
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      size_t exponent = end + 1;
      exponent +=
          exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-');
      if (exponent < source_.size() && is_digit_char(source_[exponent])) {
        end = digits(exponent, is_digit_char);
        real = true;
      }
    }
    return real ? end : 0;
  }

  void number() {
    if (const size_t end = real_end()) {
      const std::string text = without_underscores(source_.substr(at_, end - at_));
      push(TokenType::real, text);
      const auto [rest, error] =
          std::from_chars(text.data(), text.data() + text.size(), tokens_.back().real);
      if (error != std::errc()) {
        fail_here(fmt::format("the number {} is out of range", text));
      }
      at_ = end;
      return;
    }
    const auto [end, base, prefix] = integer_end();
    const std::string text = without_underscores(source_.substr(at_ + prefix, end - at_ - prefix));
    push(TokenType::integer, source_.substr(at_, end - at_));
    const auto [rest, error] =
        std::from_chars(text.data(), text.data() + text.size(), tokens_.back().integer, base);
    if (error != std::errc()) {
      fail_here(fmt::format("the integer {} does not fit in 64 bits", tokens_.back().text));
    }
    at_ = end;
  }

  struct IntegerEnd {
    size_t end;
    int base;
    size_t prefix;
  };
  IntegerEnd integer_end() const {
    const char kind = at_ + 1 < source_.size() && source_[at_] == '0'
                          ? static_cast<char>(source_[at_ + 1] | 0x20)
                          : '\0';
    const int base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
    if (base != 10) {
      const size_t end = digits(at_ + 2, [&](char c) {
        const int v = is_digit_char(c)                         ? c - '0'
                      : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                               : 99;
        return v < base;
      });
      if (end > at_ + 2) {
        return {end, base, 2};
      }
    }
    if (source_[at_] == '0') {  // zeros only: Python has no 007
      return {digits(at_, [](char c) { return c == '0'; }), 10, 0};
    }
    return {digits(at_, is_digit_char), 10, 0};
  }

  void string(char quote) {
    const int begun = line_;
    std::string out;
    for (size_t i = at_ + 1; i < source_.size();) {
      const char c = source_[i];
      if (c == quote) {
        push(TokenType::string, std::move(out));
        advance(i + 1);
        return;
      }
      if (c == '\\' && i + 1 < source_.size()) {
        i = escape(out, i + 1);
      } else {
        out += c;
        ++i;
      }
    }
    fail_syntax(name_, begun, "a string is not closed");
  }

  // Resolves the escape whose letter stands at `i`; gives the byte after it.
  size_t escape(std::string& out, size_t i) {
    constexpr std::string_view letters = "abfnrtv\\'\"", meanings = "\a\b\f\n\r\t\v\\'\"";
    const char c = source_[i];
    if (const size_t found = letters.find(c); found != std::string_view::npos) {
      out += meanings[found];
      return i + 1;
    }
    if (c == '\n') {
      return i + 1;
    }
    if (c == 'x' || c == 'u' || c == 'U') {
      const size_t count = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      append_code_point(out, i + 1, count, 16);
      return i + 1 + count;
    }
    if (c >= '0' && c <= '7') {
      size_t count = 1;
      while (count < 3 && source_[i + count] >= '0' && source_[i + count] <= '7') {
        ++count;
      }
      append_code_point(out, i, count, 8);
      return i + count;
    }
    if (c == 'N') {
      fail_here("an escape \\N{...} by name is not supported in a template");
    }
    out += '\\';
    out += c;
    return i + 1;
  }

  void append_code_point(std::string& out, size_t byte, size_t count, int base) {
    uint32_t value = 0;
    const char* first = source_.data() + byte;
    const char* last = source_.data() + std::min(byte + count, source_.size());
    const auto [rest, error] = std::from_chars(first, last, value, base);
    if (error != std::errc() || rest != first + count || value > 0x10FFFF ||
        (value >= 0xD800 && value < 0xE000)) {
      fail_here("a broken escape inside a string");
    }
    append(out, value);
  }

  const std::string source_;
  const std::string& name_;
  WhiteSpace space_;
  size_t at_ = 0;
  int line_ = 1;
  std::vector<Token> tokens_;
};

}  // namespace

void fail_syntax(const std::string& name, int line, std::string message) {
  throw Error(kSyntax, "the chat template is not valid Jinja: " + message)
      .at(fmt::format("{}:{}", name, line))
      .hint("see chat_template.jinja (or the chat_template of tokenizer_config.json) at that line");
}

std::vector<Token> tokenize(std::string_view source, const std::string& name, WhiteSpace space) {
  return Lexer(source, name, space).run();
}

}  // namespace sft::jinja
