// Jinja's filters on single values. The table of all filters stands at the end; the filters on
// sequences are in jinja_sequence_filters.cpp.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <span>

#include "core/python_number.h"
#include "jinja/format.h"
#include "jinja/interpreter.h"
#include "jinja/ops.h"
#include "jinja/print.h"
#include "jinja/sequence_filters.h"
#include "jinja/string_methods.h"
#include "jinja/text.h"

namespace sft::jinja {

namespace {

// soft_str: a string as it is, anything else as Python prints it.
Value soft(const Value& value, Budget& budget) {
  if (value.is(Kind::string)) {
    return value;
  }
  const Value text = Value::string(to_string(value, budget));
  adopt(budget, text);
  return text;
}

Value like(const Value& source, std::string text) {
  return source.is_markup() ? Value::markup(std::move(text)) : Value::string(std::move(text));
}

using Change = std::string (*)(std::string_view);
template <Change change>
Value changed(Interpreter& interpreter, const Value& self, Args& args) {
  args.bind("the filter", {});
  const Value text = soft(self, interpreter.budget());
  charge_case_change(text.text(), interpreter.budget());
  return like(text, change(text.text()));
}

// Words begin after blanks, dashes and opening brackets, unlike in str.title().
std::string title_words(std::string_view text) {
  std::string out, word;
  const auto flush = [&] {
    if (!word.empty()) {
      const size_t first = decode(word, 0).bytes;
      out += upper(std::string_view(word).substr(0, first));
      out += lower(std::string_view(word).substr(first));
      word.clear();
    }
  };
  for (std::string_view c; !text.empty(); text.remove_prefix(c.size())) {
    c = text.substr(0, decode(text, 0).bytes);
    if (is_space(decode(c, 0).value) ||
        std::string_view("-({[<").find(c) != std::string_view::npos) {
      flush();
      out += c;
    } else {
      word += c;
    }
  }
  flush();
  return out;
}

Value trim(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("trim", {"chars"});
  const Value text = soft(self, interpreter.budget());
  Budget& budget = interpreter.budget();
  budget.scan(text.text().size());
  budget.room(static_cast<int64_t>(text.text().size()));
  if (a[0] == nullptr || a[0]->is(Kind::none)) {
    const std::string_view inner = strip_right(strip_left(text.text()));
    return inner.size() == text.text().size() ? text : like(text, std::string(inner));
  }
  const std::string_view set = to_text(*a[0], "trim: the characters");
  return like(text, std::string(strip_right(strip_left(text.text(), set, budget), set, budget)));
}

Value replace_filter(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("replace", {"old", "new", "count"}, 2);
  const int64_t limit =
      a[2] == nullptr || a[2]->is(Kind::none) ? -1 : to_integer(*a[2], "replace: count");
  Budget& budget = interpreter.budget();
  const Value text = soft(self, budget), from = soft(*a[0], budget), to = soft(*a[1], budget);
  return Value::string(replace(text.text(), from.text(), to.text(), limit, budget));
}

Value default_filter(Interpreter&, const Value& self, Args& args) {
  const Bound a = args.bind("default", {"default_value", "boolean"});
  if (self.is_undefined() || (a[1] != nullptr && truth(*a[1]) && !truth(self))) {
    return a[0] == nullptr ? Value::string("") : *a[0];
  }
  return self;
}

Value length_filter(Interpreter& interpreter, const Value& self, Args& args) {
  args.bind("length", {});
  return Value::integer(require_length(self, interpreter.budget()));
}

Value string_filter(Interpreter& interpreter, const Value& self, Args& args) {
  args.bind("string", {});
  return soft(self, interpreter.budget());
}

Value safe(Interpreter& interpreter, const Value& self, Args& args) {
  args.bind("safe", {});
  return Value::markup(to_string(self, interpreter.budget()));
}

Value escape(Interpreter& interpreter, const Value& self, Args& args) {
  args.bind("escape", {});
  if (self.is_markup()) {
    return self;
  }
  Budget& budget = interpreter.budget();
  return Value::markup(html_escape(soft(self, budget).text(), budget));
}

Value force_escape(Interpreter& interpreter, const Value& self, Args& args) {
  args.bind("forceescape", {});
  Budget& budget = interpreter.budget();
  return Value::markup(html_escape(soft(self, budget).text(), budget));
}

Value attr(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("attr", {"name"}, 1);
  to_text(*a[0], "attr: the name");
  if (self.is(Kind::dict) && find_method(self, a[0]->text()) == nullptr) {
    return Value::undefined_attribute(self, *a[0]);
  }
  return get_attribute(self, *a[0], interpreter.budget());
}

// ---- numbers

// A number is read as a whole one and as a real one, each from two copies of its text.
void charge_number(std::string_view text, Budget& budget) {
  budget.step(4 * static_cast<int64_t>(text.size()));
  budget.room(3 * static_cast<int64_t>(text.size()));
}

// The number a Python literal means, as int() and float() read text; `found` false for no number.
std::string number_text(std::string_view text) {
  std::string out;
  text = strip_right(strip_left(text));
  for (size_t i = 0; i < text.size(); ++i) {
    const bool between = i > 0 && i + 1 < text.size() &&
                         std::isalnum(static_cast<unsigned char>(text[i - 1])) &&
                         std::isalnum(static_cast<unsigned char>(text[i + 1]));
    if (text[i] != '_' || !between) {
      out += text[i];
    }
  }
  return out;
}

bool read_real(std::string_view source, double& value) {
  std::string text = lower(number_text(source));
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) {
    text.erase(0, 1);
  }
  if (text == "inf" || text == "infinity") {
    value = std::numeric_limits<double>::infinity();
  } else if (text == "nan") {
    value = std::numeric_limits<double>::quiet_NaN();
  } else {
    if (text.empty() || (text[0] != '.' && (text[0] < '0' || text[0] > '9'))) {
      return false;
    }
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (end != text.data() + text.size() || error == std::errc::invalid_argument) {
      return false;
    }
    if (error == std::errc::result_out_of_range) {
      value = text.find("e-") != std::string::npos ? 0.0 : std::numeric_limits<double>::infinity();
    }
  }
  value = negative ? -value : value;
  return true;
}

bool read_integer(std::string_view source, int64_t base, int64_t& value) {
  std::string text = lower(number_text(source));
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) {
    text.erase(0, 1);
  }
  const std::string_view prefix = std::string_view(text).substr(0, 2);
  const int64_t implied = prefix == "0x" ? 16 : prefix == "0o" ? 8 : prefix == "0b" ? 2 : 0;
  if (implied != 0 && (base == implied || base == 0)) {
    text.erase(0, 2);
    base = implied;
  } else if (base == 0) {
    base = 10;
  }
  if (text.empty() || text[0] == '-') {
    return false;
  }
  if (negative) {
    text.insert(0, 1, '-');
  }
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value, static_cast<int>(base));
  if (error == std::errc::result_out_of_range) {
    fail(kOverflow, fmt::format("int: '{}' does not fit in 64 bits", source));
  }
  return error == std::errc() && end == text.data() + text.size();
}

bool to_whole(double d, int64_t& value) {
  if (!std::isfinite(d)) {
    return false;
  }
  if (std::fabs(d) >= 9.2e18) {
    fail(kOverflow, fmt::format("int: {} does not fit in 64 bits", python_repr(d)));
  }
  value = static_cast<int64_t>(d);
  return true;
}

Value int_filter(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("int", {"default", "base"});
  const int64_t base = a[1] == nullptr ? 10 : to_integer(*a[1], "int: base");
  const Value otherwise = a[0] == nullptr ? Value::integer(0) : *a[0];
  int64_t value = 0;
  double real = 0;
  if (self.is_undefined()) {
    fail_undefined(self);
  }
  if (self.is(Kind::string)) {
    charge_number(self.text(), interpreter.budget());
    if (base < 0 || base == 1 || base > 36) {
      return otherwise;
    }
    if (read_integer(self.text(), base, value)) {
      return Value::integer(value);
    }
    return read_real(self.text(), real) && to_whole(real, value) ? Value::integer(value)
                                                                 : otherwise;
  }
  if (self.is_integral()) {
    return Value::integer(self.as_integer());
  }
  if (self.is(Kind::real)) {
    if (std::isinf(self.as_real())) {
      fail(kType, "int: cannot convert infinity to an integer");
    }
    return to_whole(self.as_real(), value) ? Value::integer(value) : otherwise;
  }
  return otherwise;
}

Value float_filter(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("float", {"default"});
  if (self.is_undefined()) {
    fail_undefined(self);
  }
  if (self.is_number()) {
    return Value::real(self.as_real());
  }
  double value = 0;
  if (self.is(Kind::string)) {
    charge_number(self.text(), interpreter.budget());
    if (read_real(self.text(), value)) {
      return Value::real(value);
    }
  }
  return a[0] == nullptr ? Value::real(0.0) : *a[0];
}

Value abs_filter(Interpreter&, const Value& self, Args& args) {
  args.bind("abs", {});
  if (self.is(Kind::real)) {
    return Value::real(std::fabs(self.as_real()));
  }
  return to_integer(self, "abs: the value") < 0 ? negate(self) : plus(self);
}

// round() of Python: half to even in the exact value, which printf does too.
double round_half_even(double value, int64_t digits) {
  if (!std::isfinite(value) || digits > 300) {
    return value;
  }
  if (digits < 0) {
    const double unit = std::pow(10.0, static_cast<double>(-digits));
    return std::isfinite(unit) ? std::nearbyint(value / unit) * unit : 0.0;
  }
  char buffer[700];
  const int n = std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(digits), value);
  double rounded = value;
  std::from_chars(buffer, buffer + n, rounded);
  return rounded;
}

Value round_filter(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("round", {"precision", "method"});
  const int64_t precision = a[0] == nullptr ? 0 : to_integer(*a[0], "round: precision");
  const std::string_view method = a[1] == nullptr ? "common" : to_text(*a[1], "round: method");
  if (self.is_undefined()) {
    fail_undefined(self);
  }
  if (!self.is_number() || (method != "common" && method != "ceil" && method != "floor")) {
    fail(kType, fmt::format("round: {} by method '{}'", type_name(self), method));
  }
  if (method == "common") {
    if (self.is(Kind::real)) {
      return Value::real(round_half_even(self.as_real(), precision));
    }
    if (precision >= 0) {
      return Value::integer(self.as_integer());
    }
    return Value::integer(
        static_cast<int64_t>(round_half_even(static_cast<double>(self.as_integer()), precision)));
  }
  const Value scale =
      binary(BinaryOp::power, Value::integer(10), Value::integer(precision), interpreter.budget());
  const double scaled = binary(BinaryOp::multiply, self, scale, interpreter.budget()).as_real();
  return Value::real((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale.as_real());
}

// ---- text

Value center(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("center", {"width"});
  Args inner;
  inner.positional.push_back(a[0] == nullptr ? Value::integer(80) : *a[0]);
  const Value text = soft(self, interpreter.budget());
  return find_method(text, "center")->call(interpreter, text, inner);
}

Value indent(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("indent", {"width", "first", "blank"});
  std::string unit(4, ' ');
  if (a[0] != nullptr && a[0]->is(Kind::string)) {
    unit = a[0]->text();
  } else if (a[0] != nullptr) {
    BoundedText blanks(interpreter.budget());
    blanks.repeat(to_integer(*a[0], "indent: width"), " ");
    unit = blanks.take();
  }
  const bool first = a[1] != nullptr && truth(*a[1]), blank = a[2] != nullptr && truth(*a[2]);
  std::string_view text = to_text(self, "indent: the value");
  BoundedText out(interpreter.budget());
  out += first ? std::string_view(unit) : "";
  interpreter.budget().scan(text.size());
  for (bool begun = false;; begun = true) {  // the text's end is the end of a line, too
    const Line line = first_line(text);
    if (begun) {
      out += '\n';
      if (blank || line.bytes > 0) {
        out += unit;
      }
    }
    out += text.substr(0, line.bytes);
    if (line.end_bytes == 0) {
      break;
    }
    text.remove_prefix(line.bytes + line.end_bytes);
  }
  return like(self, out.take());
}

Value truncate(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("truncate", {"length", "killwords", "end", "leeway"});
  const int64_t limit = a[0] == nullptr ? 255 : to_integer(*a[0], "truncate: length");
  const std::string_view end = a[2] == nullptr ? "..." : to_text(*a[2], "truncate: end");
  const int64_t leeway =
      a[3] == nullptr || a[3]->is(Kind::none) ? 5 : to_integer(*a[3], "truncate: leeway");
  if (limit < length(end) || leeway < 0) {
    fail(kType, fmt::format("truncate: length {} and leeway {}", limit, leeway));
  }
  if (require_length(self, interpreter.budget()) <= limit + leeway) {
    return self;
  }
  const std::string_view text = to_text(self, "truncate: the value");
  interpreter.budget().scan(text.size());
  interpreter.budget().room(static_cast<int64_t>(text.size() + end.size()));
  std::string_view kept = substring(text, 0, limit - length(end));
  if (a[1] == nullptr || !truth(*a[1])) {
    kept = kept.substr(0, std::min(kept.rfind(' '), kept.size()));
  }
  return Value::string(std::string(kept) + std::string(end));
}

Value word_count(Interpreter& interpreter, const Value& self, Args& args) {
  args.bind("wordcount", {});
  const Value text = soft(self, interpreter.budget());
  interpreter.budget().step(2 * static_cast<int64_t>(text.text().size()));
  int64_t words = 0;
  bool inside = false;
  for (size_t at = 0; at < text.text().size();) {
    const auto [c, bytes] = decode(text.text(), at);
    at += bytes;
    const bool word = c == '_' || is_alpha(c) || is_numeric(c);
    words += word && !inside;
    inside = word;
  }
  return Value::integer(words);
}

Value format_filter(Interpreter& interpreter, const Value& self, Args& args) {
  if (!args.named.empty() && !args.positional.empty()) {
    fail(kType, "format: positional and keyword arguments cannot be mixed");
  }
  if (args.named.empty()) {
    return percent_format(soft(self, interpreter.budget()), Value::tuple(args.positional),
                          interpreter.budget());
  }
  auto dict = std::make_unique<Dict>();
  for (const auto& [name, value] : args.named) {
    dict->set(Value::string(std::string(name)), value, interpreter.budget());
  }
  return percent_format(soft(self, interpreter.budget()), dict.release()->finish(),
                        interpreter.budget());
}

Value to_json_filter(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("tojson", {"ensure_ascii", "indent", "separators", "sort_keys"});
  const auto given = [](const Value* v) { return v != nullptr && !v->is(Kind::none); };
  JsonStyle style;
  style.ensure_ascii = a[0] != nullptr && truth(*a[0]);
  style.sort_keys = a[3] != nullptr && truth(*a[3]);
  if (given(a[1])) {
    style.pretty = true;
    style.item_separator = ",";
    if (a[1]->is(Kind::string)) {
      style.indent = a[1]->text();
    } else {
      const int64_t width = to_integer(*a[1], "tojson: indent");
      style.indent.assign(static_cast<size_t>(std::clamp<int64_t>(width, 0, 1000)), ' ');
    }
  }
  if (given(a[2])) {
    const Elements separators = to_vector(*a[2], interpreter.budget());
    if (separators.size() != 2) {
      fail(kType, "tojson: separators must be two strings");
    }
    style.item_separator = to_text(separators[0], "tojson: a separator");
    style.key_separator = to_text(separators[1], "tojson: a separator");
  }
  return Value::string(to_json(self, style, interpreter.budget()));
}

constexpr NativeEntry kFilters[] = {
    {"abs", abs_filter},
    {"attr", attr},
    {"capitalize", changed<capitalize>},
    {"center", center},
    {"count", length_filter},
    {"d", default_filter},
    {"default", default_filter},
    {"e", escape},
    {"escape", escape},
    {"float", float_filter},
    {"forceescape", force_escape},
    {"format", format_filter},
    {"indent", indent},
    {"int", int_filter},
    {"length", length_filter},
    {"lower", changed<lower>},
    {"replace", replace_filter},
    {"round", round_filter},
    {"safe", safe},
    {"string", string_filter},
    {"title", changed<title_words>},
    {"tojson", to_json_filter},
    {"trim", trim},
    {"truncate", truncate},
    {"upper", changed<upper>},
    {"wordcount", word_count},
};

}  // namespace

const NativeEntry* find_filter(std::string_view name) {
  for (const auto table : {std::span<const NativeEntry>(kFilters), sequence_filters()}) {
    const auto found = std::find_if(table.begin(), table.end(),
                                    [&](const NativeEntry& entry) { return entry.name == name; });
    if (found != table.end()) {
      return &*found;
    }
  }
  return nullptr;
}

}  // namespace sft::jinja
