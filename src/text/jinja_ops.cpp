#include "text/jinja_ops.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/error.h"
#include "text/jinja_call.h"
#include "text/jinja_format.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_print.h"
#include "text/jinja_text.h"

namespace sft::jinja {

namespace {

[[noreturn]] void fail_operands(std::string_view op, const Value& a, const Value& b) {
  if (a.is_undefined()) {
    fail_undefined(a);
  }
  if (b.is_undefined()) {
    fail_undefined(b);
  }
  fail(kType, fmt::format("unsupported operand types for {}: '{}' and '{}'", op, type_name(a),
                          type_name(b)));
}

std::string_view symbol(BinaryOp op) {
  constexpr std::string_view symbols[] = {"+", "-", "*", "/", "//", "%", "**"};
  return symbols[static_cast<size_t>(op)];
}

int compare_reals(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) {
    return a.as_integer() < b.as_integer() ? -1 : a.as_integer() > b.as_integer();
  }
  const auto wide = [](const Value& v) {
    return v.is_integral() ? static_cast<long double>(v.as_integer())
                           : static_cast<long double>(v.as_real());
  };
  const long double x = wide(a), y = wide(b);
  return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;  // 2: not a number, neither
}

bool equal_dicts(const Dict& a, const Dict& b) {
  if (a.items.size() != b.items.size()) {
    return false;
  }
  return std::all_of(a.items.begin(), a.items.end(), [&](const auto& member) {
    const Value* other = b.find(member.first);
    return other != nullptr && equal(member.second, *other);
  });
}

bool equal_ranges(const Range& a, const Range& b) {
  const int64_t size = a.size();
  return size == b.size() && (size == 0 || (a.start == b.start && (size == 1 || a.step == b.step)));
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
  if (y == 0 && (op == BinaryOp::divide || op == BinaryOp::floor_divide || op == BinaryOp::modulo)) {
    fail(kType, fmt::format("division by zero: {} {} 0.0", repr_real(x), symbol(op)));
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
    fail(kType, fmt::format("{} ** {} has no finite real value", repr_real(x), repr_real(y)));
  }
  return Value::real(result);
}

Value add_strings(const Value& a, const Value& b, Budget& budget) {
  budget.make(static_cast<int64_t>(a.text().size() + b.text().size()));
  std::string out;
  if (a.is_markup() || b.is_markup()) {
    out = a.is_markup() ? std::string(a.text()) : html_escape(a.text());
    out += b.is_markup() ? std::string(b.text()) : html_escape(b.text());
    return Value::markup(std::move(out));
  }
  out.reserve(a.text().size() + b.text().size());
  out += a.text();
  out += b.text();
  return Value::string(std::move(out));
}

Value concatenate(const Value& a, const Value& b, Budget& budget) {
  std::vector<Value> items;
  budget.make(static_cast<int64_t>((a.items().size() + b.items().size()) * sizeof(Value)));
  items.reserve(a.items().size() + b.items().size());
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
  const auto unit = static_cast<int64_t>(text ? sequence.text().size()
                                              : sequence.items().size() * sizeof(Value));
  int64_t total = 0;
  if (__builtin_mul_overflow(n, unit, &total)) {
    budget.exhausted("bytes of intermediate text");
  }
  budget.make(total);
  const int64_t rounds = unit == 0 ? 0 : n;
  if (text) {
    std::string out;
    out.reserve(static_cast<size_t>(total));
    for (int64_t i = 0; i < rounds; ++i) {
      out += sequence.text();
    }
    return sequence.is_markup() ? Value::markup(std::move(out)) : Value::string(std::move(out));
  }
  std::vector<Value> items;
  for (int64_t i = 0; i < rounds; ++i) {
    items.insert(items.end(), sequence.items().begin(), sequence.items().end());
  }
  return sequence.is(Kind::list) ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

bool view_contains(const View& view, const Value& item, Budget& budget) {
  const Dict& dict = view.dict.dict();
  if (view.of == ViewOf::keys) {
    return dict.find(item) != nullptr;
  }
  for (const auto& [key, value] : dict.items) {
    budget.step();
    if (view.of == ViewOf::values ? equal(value, item)
                                  : item.is(Kind::tuple) && item.items().size() == 2 &&
                                        equal(key, item.items()[0]) &&
                                        equal(value, item.items()[1])) {
      return true;
    }
  }
  return false;
}

}  // namespace

void fail_undefined(const Value& value) {
  if (value.is(Kind::missing)) {
    fail(kUndefined, "a variable is used before it was set");
  }
  const auto& undefined = value.get<Undefined>();
  fail(undefined.unsafe ? kUnsafe : kUndefined, undefined.message());
}

bool truth(const Value& value) {
  switch (value.kind()) {
    case Kind::missing:
    case Kind::undefined:
    case Kind::none:
      return false;
    case Kind::boolean:
    case Kind::integer:
      return value.as_integer() != 0;
    case Kind::real:
      return value.as_real() != 0;
    case Kind::string:
      return !value.text().empty();
    case Kind::list:
    case Kind::tuple:
      return !value.items().empty();
    case Kind::dict:
      return !value.dict().items.empty();
    case Kind::range:
      return value.get<Range>().size() != 0;
    case Kind::view:
      return !value.get<View>().dict.dict().items.empty();
    default:
      return true;
  }
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    return compare_reals(a, b) == 0;
  }
  if (a.is_undefined() || b.is_undefined()) {
    return a.is_undefined() && b.is_undefined();
  }
  if (a.kind() != b.kind()) {
    return false;
  }
  switch (a.kind()) {
    case Kind::none:
      return true;
    case Kind::string:
      return a.text() == b.text();
    case Kind::list:
    case Kind::tuple:
      return std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(),
                        equal);
    case Kind::dict:
      return equal_dicts(a.dict(), b.dict());
    case Kind::range:
      return equal_ranges(a.get<Range>(), b.get<Range>());
    default:
      return a.object() == b.object();
  }
}

bool less(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    return compare_reals(a, b) == -1;
  }
  if (a.is(Kind::string) && b.is(Kind::string)) {
    return a.text() < b.text();  // the order of UTF-8 is the order of code points
  }
  if (a.kind() == b.kind() && (a.is(Kind::list) || a.is(Kind::tuple))) {
    const auto& x = a.items();
    const auto& y = b.items();
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!equal(x[i], y[i])) {
        return less(x[i], y[i]);
      }
    }
    return x.size() < y.size();
  }
  fail_operands("<", a, b);
}

bool compare(CompareOp op, const Value& a, const Value& b, Budget& budget) {
  switch (op) {
    case CompareOp::eq:
      return equal(a, b);
    case CompareOp::ne:
      return !equal(a, b);
    case CompareOp::in:
      return contains(b, a, budget);
    case CompareOp::not_in:
      return !contains(b, a, budget);
    case CompareOp::lt:
      return less(a, b);
    case CompareOp::gt:
      return less(b, a);
    case CompareOp::le:
    case CompareOp::ge:
      break;
  }
  if (a.is_number() && b.is_number()) {
    const int order = compare_reals(a, b);
    return order == 0 || order == (op == CompareOp::le ? -1 : 1);
  }
  return op == CompareOp::le ? !less(b, a) : !less(a, b);
}

bool contains(const Value& container, const Value& item, Budget& budget) {
  switch (container.kind()) {
    case Kind::missing:
    case Kind::undefined:
      return false;
    case Kind::string:
      if (!item.is(Kind::string)) {
        if (item.is_undefined()) {
          fail_undefined(item);
        }
        fail(kType, fmt::format("'in <string>' needs a string on its left, not {}",
                                type_name(item)));
      }
      return container.text().find(item.text()) != std::string_view::npos;
    case Kind::list:
    case Kind::tuple:
      budget.step(static_cast<int64_t>(container.items().size() / 8));
      return std::any_of(container.items().begin(), container.items().end(),
                         [&](const Value& other) { return equal(other, item); });
    case Kind::dict:
      return container.dict().find(item) != nullptr;
    case Kind::view:
      return view_contains(container.get<View>(), item, budget);
    case Kind::range: {
      if (!item.is_number() || item.as_real() != std::floor(item.as_real())) {
        return false;
      }
      const auto& range = container.get<Range>();
      const auto n = static_cast<int64_t>(item.as_real());
      const bool inside = range.step > 0 ? n >= range.start && n < range.stop
                                         : n <= range.start && n > range.stop;
      return inside && (n - range.start) % range.step == 0;
    }
    case Kind::generator: {
      auto& generator = container.get<Generator>();
      Value element;
      while (generator.take(element)) {
        if (equal(element, item)) {
          return true;
        }
      }
      return false;
    }
    default:
      fail(kType, fmt::format("'in' needs something to look into, not {}", type_name(container)));
  }
}

Value binary(BinaryOp op, const Value& a, const Value& b, Budget& budget) {
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

bool has_length(const Value& value) {
  switch (value.kind()) {
    case Kind::missing:
    case Kind::undefined:
    case Kind::string:
    case Kind::list:
    case Kind::tuple:
    case Kind::dict:
    case Kind::range:
    case Kind::view:
    case Kind::loop:
      return true;
    default:
      return false;
  }
}

int64_t require_length(const Value& value) {
  switch (value.kind()) {
    case Kind::missing:
    case Kind::undefined:
      return 0;
    case Kind::string:
      return length(value.text());
    case Kind::list:
    case Kind::tuple:
      return static_cast<int64_t>(value.items().size());
    case Kind::dict:
      return static_cast<int64_t>(value.dict().items.size());
    case Kind::range:
      return value.get<Range>().size();
    case Kind::view:
      return static_cast<int64_t>(value.get<View>().dict.dict().items.size());
    case Kind::loop:
      return loop_length(value);
    default:
      fail(kType, fmt::format("object of type '{}' has no length", type_name(value)));
  }
}

void require_hashable(const Value& value) {
  if (value.is(Kind::list) || value.is(Kind::dict)) {
    fail(kType, fmt::format("unhashable type: '{}'", type_name(value)));
  }
  if (value.is(Kind::tuple)) {
    for (const Value& item : value.items()) {
      require_hashable(item);
    }
  }
}

bool is_iterable(const Value& value) {
  switch (value.kind()) {
    case Kind::missing:
    case Kind::undefined:
    case Kind::string:
    case Kind::list:
    case Kind::tuple:
    case Kind::dict:
    case Kind::range:
    case Kind::view:
    case Kind::generator:
    case Kind::loop:
      return true;
    default:
      return false;
  }
}

std::vector<Value> to_vector(const Value& value, Budget& budget) {
  std::vector<Value> out;
  switch (value.kind()) {
    case Kind::missing:
    case Kind::undefined:
      break;
    case Kind::string:
      budget.make(static_cast<int64_t>(value.text().size() * sizeof(Value)));
      for (const std::string_view c : characters(value.text())) {
        out.push_back(Value::string(std::string(c)));
      }
      break;
    case Kind::list:
    case Kind::tuple:
      out = value.items();
      break;
    case Kind::dict:
      for (const auto& member : value.dict().items) {
        out.push_back(member.first);
      }
      break;
    case Kind::range: {
      const auto& range = value.get<Range>();
      const int64_t size = range.size();
      for (int64_t i = 0; i < size; ++i) {
        out.push_back(Value::integer(range.start + i * range.step));
      }
      break;
    }
    case Kind::view: {
      const auto& view = value.get<View>();
      for (const auto& [key, item] : view.dict.dict().items) {
        out.push_back(view.of == ViewOf::keys     ? key
                      : view.of == ViewOf::values ? item
                                                  : Value::tuple({key, item}));
      }
      break;
    }
    case Kind::generator: {
      auto& generator = value.get<Generator>();
      Value element;
      while (generator.take(element)) {
        out.push_back(std::move(element));
      }
      break;
    }
    default:
      fail(kType, fmt::format("'{}' object is not iterable", type_name(value)));
  }
  budget.step(static_cast<int64_t>(out.size()));
  budget.make(static_cast<int64_t>(out.size() * sizeof(Value)));
  return out;
}

int64_t to_integer(const Value& value, std::string_view what) {
  if (!value.is_integral()) {
    if (value.is_undefined()) {
      fail_undefined(value);
    }
    fail(kType, fmt::format("{} must be an integer, not {}", what, type_name(value)));
  }
  return value.as_integer();
}

std::string_view to_text(const Value& value, std::string_view what) {
  if (!value.is(Kind::string)) {
    if (value.is_undefined()) {
      fail_undefined(value);
    }
    fail(kType, fmt::format("{} must be a string, not {}", what, type_name(value)));
  }
  return value.text();
}

}  // namespace sft::jinja
