#include "jinja/ops.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "jinja/interpreter.h"
#include "jinja/text.h"

namespace sft::jinja {

namespace {

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

bool equal_dicts(const Dict& a, const Dict& b, Budget& budget) {
  if (a.items.size() != b.items.size()) {
    return false;
  }
  return std::all_of(a.items.begin(), a.items.end(), [&](const auto& member) {
    const Value* other = b.find(member.first, budget);
    return other != nullptr && equal(member.second, *other, budget);
  });
}

bool equal_ranges(const Range& a, const Range& b) {
  const int64_t size = a.size();
  return size == b.size() && (size == 0 || (a.start == b.start && (size == 1 || a.step == b.step)));
}

bool view_contains(const View& view, const Value& item, Budget& budget) {
  const Dict& dict = view.dict.dict();
  if (view.of == ViewOf::keys) {
    return dict.find(item, budget) != nullptr;
  }
  for (const auto& [key, value] : dict.items) {
    budget.step();
    if (view.of == ViewOf::values
            ? equal(value, item, budget)
            : item.is(Kind::tuple) && item.items().size() == 2 &&
                  equal(key, item.items()[0], budget) && equal(value, item.items()[1], budget)) {
      return true;
    }
  }
  return false;
}

}  // namespace

void fail_operands(std::string_view op, const Value& a, const Value& b) {
  if (a.is_undefined()) {
    fail_undefined(a);
  }
  if (b.is_undefined()) {
    fail_undefined(b);
  }
  fail(kType, fmt::format("unsupported operand types for {}: '{}' and '{}'", op, type_name(a),
                          type_name(b)));
}

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

bool equal(const Value& a, const Value& b, Budget& budget) {
  budget.step(2);
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
    case Kind::huge:
      if (a.text().size() != b.text().size()) {
        return false;
      }
      budget.copy(a.text().size());
      return a.text() == b.text();
    case Kind::list:
    case Kind::tuple:
      return std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(),
                        [&](const Value& x, const Value& y) { return equal(x, y, budget); });
    case Kind::dict:
      return equal_dicts(a.dict(), b.dict(), budget);
    case Kind::range:
      return equal_ranges(a.get<Range>(), b.get<Range>());
    default:
      return a.object() == b.object();
  }
}

bool less(const Value& a, const Value& b, Budget& budget) {
  budget.step();
  if (a.is_number() && b.is_number()) {
    return compare_reals(a, b) == -1;
  }
  if (a.is(Kind::string) && b.is(Kind::string)) {
    budget.copy(std::min(a.text().size(), b.text().size()));
    return a.text() < b.text();  // the order of UTF-8 is the order of code points
  }
  if (a.kind() == b.kind() && (a.is(Kind::list) || a.is(Kind::tuple))) {
    const auto& x = a.items();
    const auto& y = b.items();
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!equal(x[i], y[i], budget)) {
        return less(x[i], y[i], budget);
      }
    }
    return x.size() < y.size();
  }
  fail_operands("<", a, b);
}

bool compare(CompareOp op, const Value& a, const Value& b, Budget& budget) {
  switch (op) {
    case CompareOp::eq:
      return equal(a, b, budget);
    case CompareOp::ne:
      return !equal(a, b, budget);
    case CompareOp::in:
      return contains(b, a, budget);
    case CompareOp::not_in:
      return !contains(b, a, budget);
    case CompareOp::lt:
      return less(a, b, budget);
    case CompareOp::gt:
      return less(b, a, budget);
    case CompareOp::le:
    case CompareOp::ge:
      break;
  }
  if (a.is_number() && b.is_number()) {
    const int order = compare_reals(a, b);
    return order == 0 || order == (op == CompareOp::le ? -1 : 1);
  }
  return op == CompareOp::le ? !less(b, a, budget) : !less(a, b, budget);
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
        fail(kType,
             fmt::format("'in <string>' needs a string on its left, not {}", type_name(item)));
      }
      charge_find(container.text(), item.text(), budget);
      return find(container.text(), item.text()) != std::string_view::npos;
    case Kind::list:
    case Kind::tuple:
      return std::any_of(container.items().begin(), container.items().end(),
                         [&](const Value& other) { return equal(other, item, budget); });
    case Kind::dict:
      return container.dict().find(item, budget) != nullptr;
    case Kind::view:
      return view_contains(container.get<View>(), item, budget);
    case Kind::range: {
      if (!item.is_number() || item.as_real() != std::floor(item.as_real())) {
        return false;
      }
      const auto& range = container.get<Range>();
      const auto n = static_cast<int64_t>(item.as_real());
      const bool inside =
          range.step > 0 ? n >= range.start && n < range.stop : n <= range.start && n > range.stop;
      return inside && (n - range.start) % range.step == 0;
    }
    case Kind::generator: {
      auto& generator = container.get<Generator>();
      Value element;
      while (generator.take(element)) {
        if (equal(element, item, budget)) {
          return true;
        }
      }
      return false;
    }
    default:
      fail(kType, fmt::format("'in' needs something to look into, not {}", type_name(container)));
  }
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

int64_t require_length(const Value& value, Budget& budget) {
  switch (value.kind()) {
    case Kind::missing:
    case Kind::undefined:
      return 0;
    case Kind::string:
      budget.copy(value.text().size());
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

void require_hashable(const Value& value, Budget& budget) {
  budget.step();
  if (value.is(Kind::list) || value.is(Kind::dict)) {
    fail(kType, fmt::format("unhashable type: '{}'", type_name(value)));
  }
  if (value.is(Kind::tuple)) {
    for (const Value& item : value.items()) {
      require_hashable(item, budget);
    }
  }
}

bool is_iterable(const Value& value) {
  return has_length(value) || value.kind() == Kind::generator;
}

Elements to_vector(const Value& value, Budget& budget) {
  Elements out;
  const auto expect = [&](int64_t count) {
    out.held.more(budget, count * static_cast<int64_t>(sizeof(Value)));
    budget.step(count);
    out.reserve(static_cast<size_t>(count));
  };
  switch (value.kind()) {
    case Kind::missing:
    case Kind::undefined:
      break;
    case Kind::string:
      for (std::string_view rest = value.text(); !rest.empty();) {
        budget.step();
        const size_t bytes = decode(rest, 0).bytes;
        out.add(budget, Value::string(std::string(rest.substr(0, bytes))));
        rest.remove_prefix(bytes);
      }
      break;
    case Kind::list:
    case Kind::tuple:
      expect(static_cast<int64_t>(value.items().size()));
      out.assign(value.items().begin(), value.items().end());
      break;
    case Kind::dict:
      expect(static_cast<int64_t>(value.dict().items.size()));
      for (const auto& member : value.dict().items) {
        out.push_back(member.first);
      }
      break;
    case Kind::range: {
      const auto& range = value.get<Range>();
      const int64_t size = range.size();
      expect(size);
      for (int64_t i = 0; i < size; ++i) {
        out.push_back(Value::integer(range.start + i * range.step));
      }
      break;
    }
    case Kind::view: {
      const auto& view = value.get<View>();
      expect(static_cast<int64_t>(view.dict.dict().items.size()));
      for (const auto& [key, item] : view.dict.dict().items) {
        out.push_back(view.of == ViewOf::keys     ? key
                      : view.of == ViewOf::values ? item
                                                  : Value::tuple({key, item}));
        adopt(budget, out.back());
      }
      break;
    }
    case Kind::generator: {
      auto& generator = value.get<Generator>();
      Value element;
      while (generator.take(element)) {
        budget.step();
        out.add(budget, std::move(element));
      }
      break;
    }
    default:
      fail(kType, fmt::format("'{}' object is not iterable", type_name(value)));
  }
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
