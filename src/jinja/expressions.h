// The expression half of the template parser: precedence climbing over the tokens of one tag, with
// Jinja's grammar (a filter binds tighter than any operator, `~` tighter than `+`, ...).
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "jinja/ast.h"
#include "jinja/lexer.h"

namespace sft::jinja {

class ExpressionParser {
 public:
  ExpressionParser(std::vector<Token> tokens, std::string name)
      : tokens_(std::move(tokens)), name_(std::move(name)) {}

 protected:
  const Token& current() const { return tokens_[at_]; }
  const Token& look() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  const Token& next() { return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_.back(); }
  bool skip_name(std::string_view word);
  bool skip_op(std::string_view symbol);
  void expect_op(std::string_view symbol);
  std::string expect_identifier();
  void expect(TokenType type, std::string_view what);
  [[noreturn]] void fail_at(int line, std::string message) const;
  [[noreturn]] void fail_unexpected(std::string_view wanted) const;

  ExprPtr expression(bool with_condition = true);
  // An expression, or a tuple without parentheses; `end_word` also ends it ("" for none).
  ExprPtr tuple(bool with_condition = true, std::string_view end_word = "");
  ExprPtr filters(ExprPtr value, bool begun);
  Arguments call_arguments();
  Target target(std::string_view end_word, bool with_attribute);
  std::string target_name();
  void begin_tag() { chained_ = 0; }

  // Throws M150 beyond kMaxDepth; counts one level of recursion while it lives.
  class Nesting {
   public:
    explicit Nesting(ExpressionParser& parser);
    ~Nesting() { --parser_.depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    ExpressionParser& parser_;
  };

  const std::string& name() const { return name_; }

 private:
  bool tuple_ends(std::string_view end_word) const;
  ExprPtr condition();
  ExprPtr logic_or();
  ExprPtr logic_and();
  ExprPtr logic_not();
  ExprPtr comparison();
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filter = true);
  ExprPtr primary();
  ExprPtr parenthesised();
  ExprPtr list();
  ExprPtr dict();
  ExprPtr postfix(ExprPtr value);
  ExprPtr subscript(ExprPtr value);
  ExprPtr subscripted(ExprPtr object, int line);
  ExprPtr filters_and_tests(ExprPtr value);
  ExprPtr test(ExprPtr value);
  std::string dotted_name();
  Target target_part(bool with_attribute);
  void chain();

  std::vector<Token> tokens_;
  std::string name_;
  size_t at_ = 0;
  int depth_ = 0;
  int chained_ = 0;
};

}  // namespace sft::jinja
