// Python's arithmetic on template values: + - * / // % ** and the two signs.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/error.h"
#include "core/python_number.h"
#include "jinja/format.h"
#include "jinja/ops.h"
#include "jinja/print.h"
#include "jinja/text.h"

namespace sft::jinja {

namespace {

std::string_view symbol(BinaryOp op) {
  constexpr std::string_view symbols[] = {"+", "-", "*", "/", "//", "%", "**"};
  return symbols[static_cast<size_t>(op)];
}

[[noreturn]] void fail_overflow(std::string_view op, int64_t a, int64_t b) {
  throw Error(kOverflow, fmt::format("{} {} {} does not fit in 64 bits", a, op, b))
      .hint("the template computes with larger integers than it should need");
}

int64_t integer_power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  const int64_t base0 = base, exponent0 = exponent;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) {
      fail_overflow("**", base0, exponent0);
    }
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) {
      fail_overflow("**", base0, exponent0);
    }
  }
  return result;
}

Value divide_integers(BinaryOp op, int64_t x, int64_t y) {
  if (y == 0) {
    fail(kType, fmt::format("division by zero: {} {} 0", x, symbol(op)));
  }
  if (y == -1) {
    int64_t negated = 0;
    if (__builtin_sub_overflow(int64_t{0}, x, &negated)) {
      fail_overflow(symbol(op), x, y);
    }
    return Value::integer(op == BinaryOp::modulo ? 0 : negated);
  }
  int64_t quotient = x / y, remainder = x % y;
  if (remainder != 0 && (remainder < 0) != (y < 0)) {
    --quotient;
    remainder += y;
  }
  return Value::integer(op == BinaryOp::modulo ? remainder : quotient);
}

Value integers(BinaryOp op, int64_t x, int64_t y) {
  int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case BinaryOp::add:
      overflow = __builtin_add_overflow(x, y, &result);
      break;
    case BinaryOp::subtract:
      overflow = __builtin_sub_overflow(x, y, &result);
      break;
    case BinaryOp::multiply:
      overflow = __builtin_mul_overflow(x, y, &result);
      break;
    case BinaryOp::divide:
      if (y == 0) {
        fail(kType, fmt::format("division by zero: {} / 0", x));
      }
      return Value::real(static_cast<double>(x) / static_cast<double>(y));
    case BinaryOp::floor_divide:
    case BinaryOp::modulo:
      return divide_integers(op, x, y);
    case BinaryOp::power:
      if (y >= 0) {
        return Value::integer(integer_power(x, y));
      }
      if (x == 0) {
        fail(kType, "0 cannot be raised to a negative power");
      }
      return Value::real(std::pow(static_cast<double>(x), static_cast<double>(y)));
  }
  if (overflow) {
    fail_overflow(symbol(op), x, y);
  }
  return Value::integer(result);
}

// Python's divmod of floats: the remainder has the divisor's sign.
Value divide_reals(BinaryOp op, double x, double y) {
  double remainder = std::fmod(x, y);
  double quotient = (x - remainder) / y;
  if (remainder != 0) {
    if ((y < 0) != (remainder < 0)) {
      remainder += y;
      quotient -= 1;
    }
  } else {
    remainder = std::copysign(0.0, y);
  }
  if (op == BinaryOp::modulo) {
    return Value::real(remainder);
  }
  if (quotient == 0) {
    return Value::real(std::copysign(0.0, x / y));
  }
  double whole = std::floor(quotient);
  if (quotient - whole > 0.5) {
    whole += 1;
  }
  return Value::real(whole);
}

Value reals(BinaryOp op, double x, double y) {
  if (y == 0 &&
      (op == BinaryOp::divide || op == BinaryOp::floor_divide || op == BinaryOp::modulo)) {
    fail(kType, fmt::format("division by zero: {} {} 0.0", python_repr(x), symbol(op)));
  }
  switch (op) {
    case BinaryOp::add:
      return Value::real(x + y);
    case BinaryOp::subtract:
      return Value::real(x - y);
    case BinaryOp::multiply:
      return Value::real(x * y);
    case BinaryOp::divide:
      return Value::real(x / y);
    case BinaryOp::floor_divide:
    case BinaryOp::modulo:
      return divide_reals(op, x, y);
    case BinaryOp::power:
      break;
  }
  const double result = std::pow(x, y);
  const bool finite = std::isfinite(x) && std::isfinite(y);
  if (finite && (!std::isfinite(result) || (x == 0 && y < 0))) {
    fail(kType, fmt::format("{} ** {} has no finite real value", python_repr(x), python_repr(y)));
  }
  return Value::real(result);
}

Value add_strings(const Value& a, const Value& b, Budget& budget) {
  const size_t size = a.text().size() + b.text().size();
  budget.step(kObject);
  budget.copy(size);
  budget.room(static_cast<int64_t>(size));
  std::string out;
  if (a.is_markup() || b.is_markup()) {
    out = a.is_markup() ? std::string(a.text()) : html_escape(a.text(), budget);
    out += b.is_markup() ? std::string(b.text()) : html_escape(b.text(), budget);
    return Value::markup(std::move(out));
  }
  out.reserve(size);
  out += a.text();
  out += b.text();
  return Value::string(std::move(out));
}

Value concatenate(const Value& a, const Value& b, Budget& budget) {
  std::vector<Value> items;
  const size_t size = a.items().size() + b.items().size();
  budget.step(static_cast<int64_t>(size));
  budget.room(static_cast<int64_t>(size), sizeof(Value));
  items.reserve(size);
  items.insert(items.end(), a.items().begin(), a.items().end());
  items.insert(items.end(), b.items().begin(), b.items().end());
  return a.is(Kind::list) ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

// A sequence times an integer; nothing when `sequence` is not one.
std::optional<Value> repeat(const Value& sequence, const Value& times, Budget& budget) {
  if (!times.is_integral()) {
    return std::nullopt;
  }
  const bool text = sequence.is(Kind::string);
  if (!text && !sequence.is(Kind::list) && !sequence.is(Kind::tuple)) {
    return std::nullopt;
  }
  const int64_t n = std::max<int64_t>(0, times.as_integer());
  if (text) {
    budget.step(kObject);
    BoundedText out(budget);
    out.repeat(n, sequence.text());
    return sequence.is_markup() ? Value::markup(out.take()) : Value::string(out.take());
  }
  const auto size = static_cast<int64_t>(sequence.items().size());
  const int64_t rounds = size == 0 ? 0 : n;
  std::vector<Value> items;
  if (rounds > 0) {
    budget.room(rounds, size * static_cast<int64_t>(sizeof(Value)));
    budget.step(rounds * size);
    items.reserve(static_cast<size_t>(rounds * size));
  }
  for (int64_t i = 0; i < rounds; ++i) {
    items.insert(items.end(), sequence.items().begin(), sequence.items().end());
  }
  return sequence.is(Kind::list) ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

}  // namespace

bool extend(Value& text, const Value& more, Budget& budget) {
  if (!text.is(Kind::string) || !more.is(Kind::string) || text.is_markup() || more.is_markup()) {
    return false;
  }
  auto& string = text.get<String>();
  if (string.refs != 1 || string.immortal || string.text.data() != string.own.data()) {
    return false;  // somebody else sees it, or it is the caller's
  }
  budget.append(more.text().size());
  const size_t size = string.own.size() + more.text().size();
  if (const size_t before = string.own.capacity(); size > before) {
    const size_t capacity = std::max(size, 2 * before);
    budget.copy(size);
    budget.room(static_cast<int64_t>(capacity));  // beside the old one, while it is copied
    string.held.more(budget, static_cast<int64_t>(capacity - before));
    string.own.reserve(capacity);
  }
  string.own += more.text();
  string.text = string.own;
  return true;
}

Value binary(BinaryOp op, const Value& a, const Value& b, Budget& budget) {
  const auto is_integer = [](const Value& v) { return v.is_integral() || v.is(Kind::huge); };
  if (is_integer(a) && is_integer(b) && (a.is(Kind::huge) || b.is(Kind::huge))) {
    throw Error(kOverflow, fmt::format("{} {} {} does not fit in 64 bits", to_string(a, budget),
                                       symbol(op), to_string(b, budget)))
        .hint("the template computes with larger integers than it should need");
  }
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) {
      return integers(op, a.as_integer(), b.as_integer());
    }
    return reals(op, a.as_real(), b.as_real());
  }
  if (op == BinaryOp::add) {
    if (a.is(Kind::string) && b.is(Kind::string)) {
      return add_strings(a, b, budget);
    }
    if (a.kind() == b.kind() && (a.is(Kind::list) || a.is(Kind::tuple))) {
      return concatenate(a, b, budget);
    }
  } else if (op == BinaryOp::multiply) {
    if (auto repeated = repeat(a, b, budget)) {
      return *repeated;
    }
    if (auto repeated = repeat(b, a, budget)) {
      return *repeated;
    }
  } else if (op == BinaryOp::modulo && a.is(Kind::string)) {
    return percent_format(a, b, budget);
  }
  fail_operands(symbol(op), a, b);
}

Value negate(const Value& value) {
  if (value.is(Kind::real)) {
    return Value::real(-value.as_real());
  }
  if (value.is_integral()) {
    return integers(BinaryOp::subtract, 0, value.as_integer());
  }
  if (value.is_undefined()) {
    fail_undefined(value);
  }
  fail(kType, fmt::format("bad operand type for unary -: '{}'", type_name(value)));
}

Value plus(const Value& value) {
  if (value.is_integral()) {
    return Value::integer(value.as_integer());
  }
  if (value.is(Kind::real)) {
    return value;
  }
  if (value.is_undefined()) {
    fail_undefined(value);
  }
  fail(kType, fmt::format("bad operand type for unary +: '{}'", type_name(value)));
}

}  // namespace sft::jinja
