#include "jinja/expressions.h"

#include <fmt/format.h>

#include <algorithm>

#include "jinja/call.h"
#include "jinja/errors.h"

namespace sft::jinja {

namespace {

constexpr int kMaxChain = 2000;  // operators after one another in one tag; bounds the tree's depth

std::string describe(const Token& token) {
  switch (token.type) {
    case TokenType::data:
      return "text";
    case TokenType::block_begin:
      return "{%";
    case TokenType::block_end:
      return "%}";
    case TokenType::variable_begin:
      return "{{";
    case TokenType::variable_end:
      return "}}";
    case TokenType::string:
      return "a string";
    case TokenType::end:
      return "the end of the template";
    default:
      return "'" + token.text + "'";
  }
}

}  // namespace

Constant::Constant(int at, std::string text) : Expr(ExprKind::constant, at) {
  string.own = std::move(text);
  string.text = string.own;
  string.immortal = true;
  value = Value::object(Kind::string, &string);
}

ExpressionParser::Nesting::Nesting(ExpressionParser& parser) : parser_(parser) {
  if (++parser.depth_ > kMaxDepth) {
    --parser.depth_;
    parser.fail_at(parser.current().line, fmt::format("nested deeper than {} levels", kMaxDepth));
  }
}

void ExpressionParser::chain() {
  if (++chained_ > kMaxChain) {
    fail_at(current().line, fmt::format("more than {} operators in one tag", kMaxChain));
  }
}

void ExpressionParser::fail_at(int line, std::string message) const {
  fail_syntax(name_, line, std::move(message));
}

void ExpressionParser::fail_unexpected(std::string_view wanted) const {
  fail_at(current().line, fmt::format("expected {}, got {}", wanted, describe(current())));
}

bool ExpressionParser::skip_name(std::string_view word) {
  if (!current().is_name(word)) {
    return false;
  }
  next();
  return true;
}

bool ExpressionParser::skip_op(std::string_view symbol) {
  if (!current().is_op(symbol)) {
    return false;
  }
  next();
  return true;
}

void ExpressionParser::expect_op(std::string_view symbol) {
  if (!skip_op(symbol)) {
    fail_unexpected(fmt::format("'{}'", symbol));
  }
}

void ExpressionParser::expect(TokenType type, std::string_view what) {
  if (current().type != type) {
    fail_unexpected(what);
  }
  next();
}

std::string ExpressionParser::expect_identifier() {
  if (current().type != TokenType::name) {
    fail_unexpected("a name");
  }
  return next().text;
}

ExprPtr ExpressionParser::expression(bool with_condition) {
  const Nesting nesting(*this);
  return with_condition ? condition() : logic_or();
}

ExprPtr ExpressionParser::condition() {
  ExprPtr value = logic_or();
  while (current().is_name("if")) {
    chain();
    const int line = next().line;
    ExprPtr test = logic_or();
    ExprPtr otherwise;
    if (skip_name("else")) {
      const Nesting nesting(*this);
      otherwise = condition();
    }
    value =
        std::make_unique<Condition>(line, std::move(test), std::move(value), std::move(otherwise));
  }
  return value;
}

ExprPtr ExpressionParser::logic_or() {
  ExprPtr left = logic_and();
  while (current().is_name("or")) {
    chain();
    const int line = next().line;
    left = std::make_unique<Binary>(ExprKind::logic_or, line, std::move(left), logic_and());
  }
  return left;
}

ExprPtr ExpressionParser::logic_and() {
  ExprPtr left = logic_not();
  while (current().is_name("and")) {
    chain();
    const int line = next().line;
    left = std::make_unique<Binary>(ExprKind::logic_and, line, std::move(left), logic_not());
  }
  return left;
}

ExprPtr ExpressionParser::logic_not() {
  if (current().is_name("not")) {
    const Nesting nesting(*this);
    const int line = next().line;
    return std::make_unique<Unary>(ExprKind::logic_not, line, logic_not());
  }
  return comparison();
}

ExprPtr ExpressionParser::comparison() {
  constexpr std::pair<std::string_view, CompareOp> operators[] = {
      {"==", CompareOp::eq}, {"!=", CompareOp::ne}, {"<", CompareOp::lt},
      {"<=", CompareOp::le}, {">", CompareOp::gt},  {">=", CompareOp::ge}};
  const int line = current().line;
  ExprPtr first = sum();
  std::unique_ptr<Compare> compare;
  for (;;) {
    CompareOp op = CompareOp::in;
    if (current().type == TokenType::op) {
      const auto* found =
          std::find_if(std::begin(operators), std::end(operators),
                       [&](const auto& entry) { return entry.first == current().text; });
      if (found == std::end(operators)) {
        break;
      }
      op = found->second;
      next();
    } else if (current().is_name("not") && look().is_name("in")) {
      op = CompareOp::not_in;
      next();
      next();
    } else if (!skip_name("in")) {
      break;
    }
    if (compare == nullptr) {
      compare = std::make_unique<Compare>(line, std::move(first));
    }
    compare->rest.emplace_back(op, sum());
  }
  return compare == nullptr ? std::move(first) : ExprPtr(std::move(compare));
}

ExprPtr ExpressionParser::sum() {
  ExprPtr left = concatenation();
  while (current().is_op("+") || current().is_op("-")) {
    chain();
    const Token& token = next();
    const BinaryOp op = token.text == "+" ? BinaryOp::add : BinaryOp::subtract;
    const int line = token.line;
    left = std::make_unique<Binary>(ExprKind::binary, line, std::move(left), concatenation(), op);
  }
  return left;
}

ExprPtr ExpressionParser::concatenation() {
  const int line = current().line;
  ExprPtr first = product();
  if (!current().is_op("~")) {
    return first;
  }
  ExprList parts;
  parts.push_back(std::move(first));
  while (skip_op("~")) {
    parts.push_back(product());
  }
  return std::make_unique<Sequence>(ExprKind::concat, line, std::move(parts));
}

ExprPtr ExpressionParser::product() {
  ExprPtr left = power();
  for (;;) {
    BinaryOp op = BinaryOp::multiply;
    if (current().is_op("/")) {
      op = BinaryOp::divide;
    } else if (current().is_op("//")) {
      op = BinaryOp::floor_divide;
    } else if (current().is_op("%")) {
      op = BinaryOp::modulo;
    } else if (!current().is_op("*")) {
      return left;
    }
    chain();
    const int line = next().line;
    left = std::make_unique<Binary>(ExprKind::binary, line, std::move(left), power(), op);
  }
}

ExprPtr ExpressionParser::power() {
  ExprPtr left = unary();
  while (current().is_op("**")) {
    chain();
    const int line = next().line;
    left =
        std::make_unique<Binary>(ExprKind::binary, line, std::move(left), unary(), BinaryOp::power);
  }
  return left;
}

ExprPtr ExpressionParser::unary(bool with_filter) {
  const int line = current().line;
  ExprPtr value;
  if (current().is_op("-") || current().is_op("+")) {
    const Nesting nesting(*this);
    const ExprKind kind = next().text == "-" ? ExprKind::negative : ExprKind::positive;
    value = std::make_unique<Unary>(kind, line, unary(false));
  } else {
    value = primary();
  }
  value = postfix(std::move(value));
  return with_filter ? filters_and_tests(std::move(value)) : std::move(value);
}

ExprPtr ExpressionParser::primary() {
  const Token& token = current();
  const int line = token.line;
  switch (token.type) {
    case TokenType::name: {
      std::string word = next().text;
      if (word == "true" || word == "True" || word == "false" || word == "False") {
        return std::make_unique<Constant>(line, Value::boolean(word == "true" || word == "True"));
      }
      if (word == "none" || word == "None") {
        return std::make_unique<Constant>(line, Value::none());
      }
      return std::make_unique<Name>(line, std::move(word));
    }
    case TokenType::string: {
      std::string text;
      while (current().type == TokenType::string) {
        text += next().text;
      }
      return std::make_unique<Constant>(line, std::move(text));
    }
    case TokenType::integer:
      return std::make_unique<Constant>(line, Value::integer(next().integer));
    case TokenType::real:
      return std::make_unique<Constant>(line, Value::real(next().real));
    case TokenType::op:
      if (token.text == "(") {
        return parenthesised();
      }
      if (token.text == "[") {
        return list();
      }
      if (token.text == "{") {
        return dict();
      }
      break;
    default:
      break;
  }
  fail_unexpected("an expression");
}

bool ExpressionParser::tuple_ends(std::string_view end_word) const {
  return current().type == TokenType::variable_end || current().type == TokenType::block_end ||
         current().is_op(")") || (!end_word.empty() && current().is_name(end_word));
}

ExprPtr ExpressionParser::tuple(bool with_condition, std::string_view end_word) {
  const int line = current().line;
  ExprList items;
  bool is_tuple = false;
  while (!tuple_ends(end_word)) {
    items.push_back(expression(with_condition));
    if (!skip_op(",")) {
      break;
    }
    is_tuple = true;
  }
  if (is_tuple) {
    return std::make_unique<Sequence>(ExprKind::tuple, line, std::move(items));
  }
  if (items.empty()) {
    fail_unexpected("an expression");
  }
  return std::move(items[0]);
}

ExprPtr ExpressionParser::parenthesised() {
  const int line = next().line;
  if (skip_op(")")) {
    return std::make_unique<Sequence>(ExprKind::tuple, line, ExprList());
  }
  ExprPtr value = tuple();
  expect_op(")");
  return value;
}

ExprPtr ExpressionParser::list() {
  const int line = next().line;
  ExprList items;
  while (!current().is_op("]")) {
    if (!items.empty()) {
      expect_op(",");
      if (current().is_op("]")) {
        break;
      }
    }
    items.push_back(expression());
  }
  next();
  return std::make_unique<Sequence>(ExprKind::list, line, std::move(items));
}

ExprPtr ExpressionParser::dict() {
  const int line = next().line;
  ExprList items;
  while (!current().is_op("}")) {
    if (!items.empty()) {
      expect_op(",");
      if (current().is_op("}")) {
        break;
      }
    }
    items.push_back(expression());
    expect_op(":");
    items.push_back(expression());
  }
  next();
  return std::make_unique<Sequence>(ExprKind::dict, line, std::move(items));
}

ExprPtr ExpressionParser::postfix(ExprPtr value) {
  for (;;) {
    if (current().is_op(".") || current().is_op("[")) {
      value = subscript(std::move(value));
    } else if (current().is_op("(")) {
      const int line = current().line;
      value = std::make_unique<Call>(line, std::move(value), call_arguments());
    } else {
      return value;
    }
    chain();
  }
}

ExprPtr ExpressionParser::filters_and_tests(ExprPtr value) {
  for (;;) {
    if (current().is_op("|")) {
      value = filters(std::move(value), false);
    } else if (current().is_name("is")) {
      value = test(std::move(value));
    } else if (current().is_op("(")) {
      const int line = current().line;
      value = std::make_unique<Call>(line, std::move(value), call_arguments());
    } else {
      return value;
    }
    chain();
  }
}

ExprPtr ExpressionParser::subscript(ExprPtr value) {
  const Token& token = next();
  const int line = token.line;
  if (token.text == ".") {
    if (current().type == TokenType::name) {
      return std::make_unique<Attribute>(line, std::move(value), next().text);
    }
    if (current().type != TokenType::integer) {
      fail_unexpected("a name or a number after '.'");
    }
    auto key = std::make_unique<Constant>(line, Value::integer(next().integer));
    return std::make_unique<Item>(line, std::move(value), std::move(key));
  }
  ExprPtr result = subscripted(std::move(value), line);
  expect_op("]");
  return result;
}

ExprPtr ExpressionParser::subscripted(ExprPtr object, int line) {
  const auto ends = [&] { return current().is_op("]") || current().is_op(","); };
  ExprPtr first;
  if (current().is_op("]")) {
    return std::make_unique<Item>(line, std::move(object),
                                  std::make_unique<Sequence>(ExprKind::tuple, line, ExprList()));
  }
  if (!current().is_op(":")) {
    first = expression();
    if (!current().is_op(":")) {
      if (!current().is_op(",")) {
        return std::make_unique<Item>(line, std::move(object), std::move(first));
      }
      ExprList items;
      items.push_back(std::move(first));
      while (skip_op(",")) {
        items.push_back(expression());
      }
      return std::make_unique<Item>(
          line, std::move(object),
          std::make_unique<Sequence>(ExprKind::tuple, line, std::move(items)));
    }
  }
  auto slice = std::make_unique<Slice>(line, std::move(object));
  slice->start = std::move(first);
  next();  // the colon
  if (!current().is_op(":") && !ends()) {
    slice->stop = expression();
  }
  if (skip_op(":") && !ends()) {
    slice->step = expression();
  }
  return slice;
}

Arguments ExpressionParser::call_arguments() {
  const Nesting nesting(*this);
  const int line = current().line;
  expect_op("(");
  Arguments arguments;
  const auto ensure = [&](bool holds) {
    if (!holds) {
      fail_at(line, "the arguments of the call stand in a wrong order");
    }
  };
  for (bool first = true; !current().is_op(")"); first = false) {
    if (!first) {
      expect_op(",");
      if (current().is_op(")")) {
        break;
      }
    }
    if (skip_op("*")) {
      ensure(arguments.star == nullptr && arguments.star_star == nullptr);
      arguments.star = expression();
    } else if (skip_op("**")) {
      ensure(arguments.star_star == nullptr);
      arguments.star_star = expression();
    } else if (current().type == TokenType::name && look().is_op("=")) {
      ensure(arguments.star_star == nullptr);
      std::string key = next().text;
      next();
      arguments.named.emplace_back(std::move(key), expression());
    } else {
      ensure(arguments.star == nullptr && arguments.star_star == nullptr &&
             arguments.named.empty());
      arguments.positional.push_back(expression());
    }
  }
  next();
  return arguments;
}

std::string ExpressionParser::dotted_name() {
  std::string name = expect_identifier();
  while (skip_op(".")) {
    name += "." + expect_identifier();
  }
  return name;
}

ExprPtr ExpressionParser::filters(ExprPtr value, bool begun) {
  while (begun || current().is_op("|")) {
    if (!begun) {
      next();
    }
    begun = false;
    chain();
    const int line = current().line;
    std::string name = dotted_name();
    Arguments arguments = current().is_op("(") ? call_arguments() : Arguments();
    auto filter = std::make_unique<FilterOrTest>(ExprKind::filter, line, std::move(value),
                                                 std::move(name), std::move(arguments));
    filter->entry = find_filter(filter->name);
    value = std::move(filter);
  }
  return value;
}

ExprPtr ExpressionParser::test(ExprPtr value) {
  const int line = next().line;
  const bool negated = skip_name("not");
  std::string name = dotted_name();
  Arguments arguments;
  const Token& token = current();
  if (token.is_op("(")) {
    arguments = call_arguments();
  } else if ((token.type == TokenType::name || token.type == TokenType::string ||
              token.type == TokenType::integer || token.type == TokenType::real ||
              token.is_op("[") || token.is_op("{")) &&
             !token.is_name("else") && !token.is_name("or") && !token.is_name("and")) {
    if (token.is_name("is")) {
      fail_at(line, "tests with 'is' cannot be chained");
    }
    arguments.positional.push_back(postfix(primary()));
  }
  auto node = std::make_unique<FilterOrTest>(ExprKind::test, line, std::move(value),
                                             std::move(name), std::move(arguments));
  node->entry = find_test(node->name);
  if (negated) {
    return std::make_unique<Unary>(ExprKind::logic_not, line, std::move(node));
  }
  return node;
}

std::string ExpressionParser::target_name() {
  const int line = current().line;
  std::string name = expect_identifier();
  constexpr std::string_view constants[] = {"true", "false", "none", "True", "False", "None"};
  if (std::find(std::begin(constants), std::end(constants), name) != std::end(constants)) {
    fail_at(line, fmt::format("cannot assign to '{}'", name));
  }
  return name;
}

Target ExpressionParser::target_part(bool with_attribute) {
  Target part;
  part.line = current().line;
  if (skip_op("(")) {
    const Nesting nesting(*this);
    part = target("", with_attribute);
    expect_op(")");
    return part;
  }
  part.name = target_name();
  if (with_attribute && skip_op(".")) {
    part.attribute = expect_identifier();
  }
  return part;
}

Target ExpressionParser::target(std::string_view end_word, bool with_attribute) {
  Target tuple;
  tuple.line = current().line;
  bool is_tuple = false;
  while (!tuple_ends(end_word)) {
    tuple.parts.push_back(target_part(with_attribute));
    if (!skip_op(",")) {
      break;
    }
    is_tuple = true;
  }
  if (is_tuple) {
    return tuple;
  }
  if (tuple.parts.empty()) {
    fail_unexpected("a name to assign to");
  }
  Target only = std::move(tuple.parts[0]);
  return only;
}

}  // namespace sft::jinja
