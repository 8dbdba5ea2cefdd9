// Jinja's tests: what may stand after `is`.
#include <algorithm>
#include <array>

#include "jinja/interpreter.h"
#include "jinja/ops.h"
#include "jinja/print.h"
#include "jinja/text.h"

namespace sft::jinja {

namespace {

template <Kind kind>
Value is_kind(Interpreter&, const Value& self, Args& args) {
  args.bind("the test", {});
  return Value::boolean(self.is(kind));
}

Value defined(Interpreter&, const Value& self, Args& args) {
  args.bind("defined", {});
  return Value::boolean(!self.is_undefined());
}
Value undefined(Interpreter&, const Value& self, Args& args) {
  args.bind("undefined", {});
  return Value::boolean(self.is_undefined());
}

template <bool value>
Value is_bool(Interpreter&, const Value& self, Args& args) {
  args.bind("true/false", {});
  return Value::boolean(self.is(Kind::boolean) && self.as_bool() == value);
}

Value integer(Interpreter&, const Value& self, Args& args) {
  args.bind("integer", {});
  return Value::boolean(self.is(Kind::integer) || self.is(Kind::huge));
}
Value number(Interpreter&, const Value& self, Args& args) {
  args.bind("number", {});
  return Value::boolean(self.is_number() || self.is(Kind::huge));
}

Value sequence(Interpreter&, const Value& self, Args& args) {
  args.bind("sequence", {});
  return Value::boolean(has_length(self) && !self.is(Kind::view) && !self.is(Kind::loop));
}

Value iterable(Interpreter&, const Value& self, Args& args) {
  args.bind("iterable", {});
  return Value::boolean(is_iterable(self));
}

Value callable(Interpreter&, const Value& self, Args& args) {
  args.bind("callable", {});
  constexpr Kind kinds[] = {Kind::function, Kind::method,    Kind::macro,  Kind::joiner,
                            Kind::loop,     Kind::undefined, Kind::missing};
  return Value::boolean(std::find(std::begin(kinds), std::end(kinds), self.kind()) !=
                        std::end(kinds));
}

bool remainder_is(Interpreter& interpreter, const Value& self, const Value& divisor, int64_t n) {
  Budget& budget = interpreter.budget();
  return equal(binary(BinaryOp::modulo, self, divisor, budget), Value::integer(n), budget);
}

Value odd(Interpreter& interpreter, const Value& self, Args& args) {
  args.bind("odd", {});
  return Value::boolean(remainder_is(interpreter, self, Value::integer(2), 1));
}
Value even(Interpreter& interpreter, const Value& self, Args& args) {
  args.bind("even", {});
  return Value::boolean(remainder_is(interpreter, self, Value::integer(2), 0));
}
Value divisible_by(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("divisibleby", {"num"}, 1);
  return Value::boolean(remainder_is(interpreter, self, *a[0], 0));
}

template <CompareOp op>
Value compared(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("the comparison", {"other"}, 1);
  return Value::boolean(compare(op, self, *a[0], interpreter.budget()));
}

Value same_as(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("sameas", {"other"}, 1);
  if (self.kind() != a[0]->kind()) {
    return Value::boolean(false);
  }
  if (self.is_number() || self.is(Kind::none)) {
    return Value::boolean(equal(self, *a[0], interpreter.budget()));
  }
  return Value::boolean(self.is_object() && self.object() == a[0]->object());
}

template <bool upper_case>
Value cased(Interpreter& interpreter, const Value& self, Args& args) {
  args.bind("lower/upper", {});
  const std::string text = to_string(self, interpreter.budget());
  interpreter.budget().step(static_cast<int64_t>(text.size()));
  return Value::boolean(is_cased_text(text, upper_case));
}

Value escaped(Interpreter&, const Value& self, Args& args) {
  args.bind("escaped", {});
  return Value::boolean(self.is_markup());
}

Value is_filter(Interpreter&, const Value& self, Args& args) {
  args.bind("filter", {});
  return Value::boolean(self.is(Kind::string) && find_filter(self.text()) != nullptr);
}
Value is_test(Interpreter&, const Value& self, Args& args) {
  args.bind("test", {});
  return Value::boolean(self.is(Kind::string) && find_test(self.text()) != nullptr);
}

constexpr NativeEntry kTests[] = {
    {"defined", defined},
    {"undefined", undefined},
    {"none", is_kind<Kind::none>},
    {"string", is_kind<Kind::string>},
    {"mapping", is_kind<Kind::dict>},
    {"boolean", is_kind<Kind::boolean>},
    {"integer", integer},
    {"float", is_kind<Kind::real>},
    {"true", is_bool<true>},
    {"false", is_bool<false>},
    {"number", number},
    {"sequence", sequence},
    {"iterable", iterable},
    {"callable", callable},
    {"odd", odd},
    {"even", even},
    {"divisibleby", divisible_by},
    {"in", compared<CompareOp::in>},
    {"eq", compared<CompareOp::eq>},
    {"equalto", compared<CompareOp::eq>},
    {"==", compared<CompareOp::eq>},
    {"ne", compared<CompareOp::ne>},
    {"!=", compared<CompareOp::ne>},
    {"lt", compared<CompareOp::lt>},
    {"lessthan", compared<CompareOp::lt>},
    {"<", compared<CompareOp::lt>},
    {"le", compared<CompareOp::le>},
    {"<=", compared<CompareOp::le>},
    {"gt", compared<CompareOp::gt>},
    {"greaterthan", compared<CompareOp::gt>},
    {">", compared<CompareOp::gt>},
    {"ge", compared<CompareOp::ge>},
    {">=", compared<CompareOp::ge>},
    {"sameas", same_as},
    {"lower", cased<false>},
    {"upper", cased<true>},
    {"escaped", escaped},
    {"filter", is_filter},
    {"test", is_test},
};

}  // namespace

const NativeEntry* find_test(std::string_view name) {
  const auto* found = std::find_if(std::begin(kTests), std::end(kTests),
                                   [&](const NativeEntry& entry) { return entry.name == name; });
  return found == std::end(kTests) ? nullptr : found;
}

}  // namespace sft::jinja
