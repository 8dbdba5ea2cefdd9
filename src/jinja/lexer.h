// Cuts a template into tokens: the text between tags, and what stands inside `{{ }}` and `{% %}`.
// White space is handled as transformers configures Jinja: trim_blocks and lstrip_blocks on, one
// trailing newline of the template dropped, line ends normalised to \n. Used by the parser.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sft::jinja {

enum class TokenType : uint8_t {
  data,
  block_begin,
  block_end,
  variable_begin,
  variable_end,
  name,
  string,
  integer,
  real,
  op,
  end,
};

struct Token {
  TokenType type = TokenType::end;
  std::string text;  // of data, names and operators; strings with their escapes resolved
  int line = 1;
  int64_t integer = 0;
  double real = 0;

  bool is_op(std::string_view symbol) const { return type == TokenType::op && text == symbol; }
  bool is_name(std::string_view word) const { return type == TokenType::name && text == word; }
};

// What becomes of white space around tags: as transformers sets Jinja up (above), or as Jinja is by
// itself, where nothing goes but what a "-" asks for, and the trailing newline stays.
enum class WhiteSpace : uint8_t { trimmed, kept };

// The last token is `end`. M150 at `name`:line for what is no template.
std::vector<Token> tokenize(std::string_view source, const std::string& name,
                            WhiteSpace space = WhiteSpace::trimmed);

[[noreturn]] void fail_syntax(const std::string& name, int line, std::string message);

}  // namespace sft::jinja
