#include "jinja/parser.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "jinja/errors.h"
#include "jinja/expressions.h"

namespace sft::jinja {

namespace {

using EndTags = std::initializer_list<std::string_view>;

class Parser : public ExpressionParser {
 public:
  Parser(std::string_view source, const std::string& name, WhiteSpace space)
      : ExpressionParser(tokenize(source, name, space), name) {}

  std::unique_ptr<Template> run() {
    auto result = std::make_unique<Template>();
    result->name = name();
    result->body = block({});
    result->has_generation = has_generation_;
    return result;
  }

 private:
  // Statements up to one of the tags in `ends` (its name not yet taken) or the template's end.
  Block block(EndTags ends) {
    const Nesting nesting(*this);
    const int begun = current().line;
    Block body;
    for (;;) {
      const Token& token = current();
      const int line = token.line;
      switch (token.type) {
        case TokenType::data:
          body.push_back(std::make_unique<Text>(line, next().text));
          break;
        case TokenType::variable_begin:
          next();
          begin_tag();
          body.push_back(std::make_unique<Print>(line, tuple()));
          expect(TokenType::variable_end, "'}}'");
          break;
        case TokenType::block_begin:
          next();
          begin_tag();
          if (current().type == TokenType::name &&
              std::find(ends.begin(), ends.end(), current().text) != ends.end()) {
            return body;
          }
          statement(body);
          expect(TokenType::block_end, "'%}'");
          break;
        default:
          if (ends.size() > 0) {
            fail_at(begun, fmt::format("the template ends before {{% {} %}}", *(ends.end() - 1)));
          }
          return body;
      }
    }
  }

  // The body of a tag: what follows its "%}", up to and with the tag that ends it.
  Block body_until(std::string_view end) {
    skip_op(":");
    expect(TokenType::block_end, "'%}'");
    Block body = block({end});
    next();
    return body;
  }

  void statement(Block& body) {
    const int line = current().line;
    const std::string tag = expect_identifier();
    if (tag == "for") {
      body.push_back(loop(line));
    } else if (tag == "if") {
      body.push_back(condition(line));
    } else if (tag == "set") {
      body.push_back(assignment(line));
    } else if (tag == "macro") {
      body.push_back(macro(line));
    } else if (tag == "call") {
      body.push_back(call_block(line));
    } else if (tag == "filter") {
      auto node = std::make_unique<BlockStatement>(StatementKind::filter_block, line);
      node->filter = filters(nullptr, true);
      node->body = body_until("endfilter");
      body.push_back(std::move(node));
    } else if (tag == "with") {
      body.push_back(with(line));
    } else if (tag == "generation") {
      auto node = std::make_unique<BlockStatement>(StatementKind::generation, line);
      has_generation_ = true;
      node->body = outside_of_loops([&] { return body_until("endgeneration"); });
      body.push_back(std::move(node));
    } else if (tag == "print") {
      print(body, line);
    } else if (tag == "break" || tag == "continue") {
      if (loops_ == 0) {
        fail_at(line, fmt::format("'{}' outside of a loop", tag));
      }
      body.push_back(std::make_unique<Statement>(
          tag == "break" ? StatementKind::loop_break : StatementKind::loop_continue, line));
    } else {
      fail_tag(tag, line);
    }
  }

  [[noreturn]] void fail_tag(const std::string& tag, int line) const {
    constexpr std::string_view known[] = {"block",  "extends", "include",
                                          "import", "from",    "autoescape"};
    if (std::find(std::begin(known), std::end(known), tag) != std::end(known)) {
      throw Error(kUnsupported, fmt::format("{{% {} %}} is not supported in a chat template", tag))
          .at(fmt::format("{}:{}", name(), line))
          .hint("a chat template stands alone: write its text out in one file");
    }
    fail_at(line, fmt::format("unknown or misplaced tag '{}'", tag));
  }

  // break and continue do not reach a loop around a macro, call or generation block.
  template <typename Parse>
  Block outside_of_loops(Parse parse_body) {
    const int loops = std::exchange(loops_, 0);
    Block body = parse_body();
    loops_ = loops;
    return body;
  }

  std::unique_ptr<Statement> loop(int line) {
    auto node = std::make_unique<For>(line);
    node->target = target("in", false);
    node->test_target = node->target;
    if (!skip_name("in")) {
      fail_unexpected("'in'");
    }
    node->iterable = tuple(false, "recursive");
    if (skip_name("if")) {
      node->test = expression();
    }
    if (current().is_name("recursive")) {
      throw Error(kUnsupported, "a recursive loop is not supported in a chat template")
          .at(fmt::format("{}:{}", name(), line))
          .hint("write the recursion as a macro that calls itself");
    }
    skip_op(":");
    expect(TokenType::block_end, "'%}'");
    ++loops_;
    node->body = block({"else", "endfor"});
    --loops_;
    if (next().text == "else") {
      node->otherwise = body_until("endfor");
    }
    return node;
  }

  std::unique_ptr<Statement> condition(int line) {
    auto node = std::make_unique<If>(line);
    for (;;) {
      ExprPtr test = tuple(false);
      skip_op(":");
      expect(TokenType::block_end, "'%}'");
      Block body = block({"elif", "else", "endif"});
      node->branches.emplace_back(std::move(test), std::move(body));
      const std::string end = next().text;
      if (end == "else") {
        node->otherwise = body_until("endif");
      }
      if (end != "elif") {
        return node;
      }
      begin_tag();
    }
  }

  std::unique_ptr<Statement> assignment(int line) {
    Target to = target("", true);
    if (skip_op("=")) {
      auto node = std::make_unique<Set>(line);
      node->target = std::move(to);
      node->value = tuple();
      return node;
    }
    auto node = std::make_unique<BlockStatement>(StatementKind::set_block, line);
    node->target = std::move(to);
    node->filter = filters(nullptr, false);
    node->body = body_until("endset");
    return node;
  }

  void signature(Macro& node) {
    expect_op("(");
    for (bool first = true; !current().is_op(")"); first = false) {
      if (!first) {
        expect_op(",");
      }
      const int line = current().line;
      std::string parameter = target_name();
      if (std::find(node.parameters.begin(), node.parameters.end(), parameter) !=
          node.parameters.end()) {
        fail_at(line, fmt::format("parameter '{}' is named twice", parameter));
      }
      node.parameters.push_back(std::move(parameter));
      if (skip_op("=")) {
        node.defaults.push_back(expression());
      } else if (!node.defaults.empty()) {
        fail_at(line, "a parameter without a default follows one with a default");
      }
    }
    next();
  }

  std::unique_ptr<Statement> macro(int line) {
    auto node = std::make_unique<Macro>(StatementKind::macro, line);
    node->name = target_name();
    signature(*node);
    node->body = outside_of_loops([&] { return body_until("endmacro"); });
    return node;
  }

  std::unique_ptr<Statement> call_block(int line) {
    auto node = std::make_unique<Macro>(StatementKind::call_block, line);
    node->name = "caller";
    if (current().is_op("(")) {
      signature(*node);
    }
    node->call = expression();
    if (node->call->kind != ExprKind::call) {
      fail_at(line, "{% call %} needs a call");
    }
    node->body = outside_of_loops([&] { return body_until("endcall"); });
    return node;
  }

  std::unique_ptr<Statement> with(int line) {
    auto node = std::make_unique<With>(line);
    while (current().type != TokenType::block_end) {
      if (!node->values.empty()) {
        expect_op(",");
      }
      Target to = target("", false);
      expect_op("=");
      node->values.emplace_back(std::move(to), expression());
    }
    node->body = body_until("endwith");
    return node;
  }

  void print(Block& body, int line) {
    for (bool first = true; current().type != TokenType::block_end; first = false) {
      if (!first) {
        expect_op(",");
      }
      body.push_back(std::make_unique<Print>(line, expression()));
    }
  }

  int loops_ = 0;
  bool has_generation_ = false;
};

}  // namespace

std::unique_ptr<Template> parse(std::string_view source, std::string name, WhiteSpace space) {
  auto result = Parser(source, name, space).run();
  resolve(*result);
  return result;
}

}  // namespace sft::jinja
