#include "jinja/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/python_number.h"
#include "jinja/ops.h"
#include "jinja/print.h"
#include "jinja/text.h"

namespace sft::jinja {

namespace {

constexpr int64_t kMaxWidth = 1 << 20;

// What one field asks for, in either notation.
struct Field {
  std::string fill = " ";
  char align = 0;  // < > ^ =, or 0: as the type has it
  char sign = '-';
  bool alternate = false;
  char grouping = 0;  // , or _
  int64_t width = 0;
  int64_t precision = -1;
  char type = 0;
};

// `text`, filled up to the field's width.
void pad(BoundedText& out, std::string_view text, const Field& field, char default_align) {
  const int64_t missing = std::max<int64_t>(0, field.width - length(text));
  const char align = field.align != 0 ? field.align : default_align;
  if (align == '=') {
    const size_t digits = text.find_first_of("0123456789infa");
    const size_t at = digits == std::string_view::npos ? 0 : digits;
    out += text.substr(0, at);
    out.repeat(missing, field.fill);
    out += text.substr(at);
    return;
  }
  const int64_t left = align == '<' ? 0 : align == '>' ? missing : missing / 2;
  out.repeat(left, field.fill);
  out += text;
  out.repeat(missing - left, field.fill);
}

std::string group(std::string digits, const Field& field, size_t every) {
  if (field.grouping == 0) {
    return digits;
  }
  const size_t end = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  for (size_t i = end; i > every; i -= every) {
    digits.insert(i - every, 1, field.grouping);
  }
  return digits;
}

std::string signed_text(bool negative, const Field& field, std::string digits) {
  const std::string sign = negative ? "-" : field.sign == '-' ? "" : std::string(1, field.sign);
  return sign + digits;
}

std::string format_integer(int64_t n, const Field& field) {
  const bool negative = n < 0;
  const uint64_t magnitude = negative ? 0 - static_cast<uint64_t>(n) : static_cast<uint64_t>(n);
  std::string digits, prefix;
  switch (field.type) {
    case 'b':
      digits = fmt::format("{:b}", magnitude);
      prefix = "0b";
      break;
    case 'o':
      digits = fmt::format("{:o}", magnitude);
      prefix = "0o";
      break;
    case 'x':
      digits = fmt::format("{:x}", magnitude);
      prefix = "0x";
      break;
    case 'X':
      digits = fmt::format("{:X}", magnitude);
      prefix = "0X";
      break;
    default:
      digits = fmt::format("{}", magnitude);
  }
  digits = group(std::move(digits), field, prefix.empty() ? 3 : 4);
  if (field.alternate) {
    digits = prefix + digits;
  }
  return signed_text(negative, field, std::move(digits));
}

std::string format_real(double value, const Field& field) {
  const bool negative = std::signbit(value) && !std::isnan(value);
  const double magnitude = std::fabs(value);
  std::string digits;
  if (!std::isfinite(value)) {
    const bool upper_case = field.type == 'F' || field.type == 'E' || field.type == 'G';
    digits = std::isnan(value) ? (upper_case ? "NAN" : "nan") : (upper_case ? "INF" : "inf");
    return signed_text(negative, field, digits + (field.type == '%' ? "%" : ""));
  }
  if (field.type == 0 && field.precision < 0) {
    digits = python_repr(magnitude);
  } else {
    const char type = field.type == '%'                      ? 'f'
                      : field.type == 0 || field.type == 'n' ? 'g'
                                                             : field.type;
    const std::string pattern = fmt::format("%{}.*{}", field.alternate ? "#" : "", type);
    const int precision = static_cast<int>(field.precision < 0 ? 6 : field.precision);
    const double scaled = field.type == '%' ? magnitude * 100 : magnitude;
    char buffer[1500];
    const int n = std::snprintf(buffer, sizeof buffer, pattern.c_str(), precision, scaled);
    digits.assign(buffer, static_cast<size_t>(std::clamp(n, 0, 1499)));
    if (field.type == 0 && digits.find_first_of(".e") == std::string::npos) {
      digits += ".0";
    }
  }
  digits = group(std::move(digits), field, 3);
  return signed_text(negative, field, digits + (field.type == '%' ? "%" : ""));
}

void check_field(const Field& field) {
  if (field.width > kMaxWidth || field.precision > 1000) {
    fail(kLimit,
         fmt::format("a format asks for width {} and precision {}", field.width, field.precision));
  }
}

int64_t read_number(std::string_view text, size_t& at) {
  int64_t n = 0;
  while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
    n = std::min<int64_t>(n * 10 + (text[at++] - '0'), INT32_MAX);
  }
  return n;
}

// ---- the % notation

class Percent {
 public:
  Percent(std::string_view format, const Value& value, Budget& budget)
      : format_(format), value_(value), budget_(budget), out_(budget) {}

  std::string run() {
    for (size_t i = 0; i < format_.size();) {
      if (format_[i] != '%') {
        const size_t end = std::min(format_.find('%', i), format_.size());
        out_ += format_.substr(i, end - i);
        i = end;
      } else if (i + 1 < format_.size() && format_[i + 1] == '%') {
        out_ += '%';
        i += 2;
      } else {
        i = field(i + 1);
      }
    }
    const bool leftover = value_.is(Kind::tuple)
                              ? used_ < value_.items().size()
                              : used_ == 0 && !value_.is(Kind::dict) && !value_.is(Kind::list);
    if (leftover) {
      fail(kType, "not all arguments converted during string formatting");
    }
    return out_.take();
  }

 private:
  const Value& next() {
    if (value_.is(Kind::tuple) ? used_ >= value_.items().size() : used_ > 0) {
      fail(kType, "not enough arguments for format string");
    }
    ++used_;
    return value_.is(Kind::tuple) ? value_.items()[used_ - 1] : value_;
  }

  int64_t number_or_star(size_t& i) {
    if (i < format_.size() && format_[i] == '*') {
      ++i;
      return to_integer(next(), "* in a format");
    }
    return read_number(format_, i);
  }

  size_t field(size_t i) {
    Field f;
    const Value* named = nullptr;
    if (i < format_.size() && format_[i] == '(') {
      const size_t end = format_.find(')', i);
      if (end == std::string_view::npos || !value_.is(Kind::dict)) {
        fail(kType, "a format with %(name) needs a mapping");
      }
      const std::string_view key = format_.substr(i + 1, end - i - 1);
      budget_.scan(key.size());
      named = value_.dict().find(key);
      if (named == nullptr) {
        fail(kType, fmt::format("the format's key '{}' is not in the mapping", key));
      }
      i = end + 1;
    }
    for (;
         i < format_.size() && std::string_view("-+ #0").find(format_[i]) != std::string_view::npos;
         ++i) {
      const char c = format_[i];
      if (c == '-') {
        f.align = '<';
      } else if (c == '#') {
        f.alternate = true;
      } else if (c == '0') {
        f.fill = "0";
      } else if (f.sign != '+') {
        f.sign = c;
      }
    }
    f.width = number_or_star(i);
    if (f.width < 0) {
      f.align = '<';
      f.width = -f.width;
    }
    if (i < format_.size() && format_[i] == '.') {
      ++i;
      f.precision = std::max<int64_t>(0, number_or_star(i));
    }
    while (i < format_.size() &&
           std::string_view("hlL").find(format_[i]) != std::string_view::npos) {
      ++i;
    }
    if (i >= format_.size()) {
      fail(kType, "incomplete format");
    }
    f.type = format_[i];
    check_field(f);
    budget_.step(kStatement);
    convert(f, named != nullptr ? *named : next());
    return i + 1;
  }

  void convert(Field f, const Value& value) {
    const bool numeric = std::string_view("diuxXofFeEgG").find(f.type) != std::string_view::npos;
    if (f.align == '<' || !numeric) {
      f.fill = " ";
    } else if (f.fill == "0") {
      f.align = '=';
    }
    switch (f.type) {
      case 's':
      case 'r':
      case 'a': {
        const std::string whole = f.type == 's' ? to_string(value, budget_) : repr(value, budget_);
        const std::string_view text = whole;
        return pad(out_, f.precision >= 0 ? substring(text, 0, f.precision) : text, f, '>');
      }
      case 'c':
        if (value.is(Kind::string) && length(value.text()) == 1) {
          return pad(out_, value.text(), f, '>');
        } else {
          std::string text;
          append(text, static_cast<char32_t>(to_integer(value, "%c") & 0x1FFFFF));
          return pad(out_, text, f, '>');
        }
      default:
        break;
    }
    if (!numeric) {
      fail(kType, fmt::format("unsupported format character '{}'", f.type));
    }
    if (!value.is_number()) {
      if (value.is_undefined()) {
        fail_undefined(value);
      }
      fail(kType,
           fmt::format("%{} format: a number is required, not {}", f.type, type_name(value)));
    }
    if (std::string_view("fFeEgG").find(f.type) != std::string_view::npos) {
      return pad(out_, format_real(value.as_real(), f), f, '>');
    }
    if (value.is(Kind::real) && (!(std::fabs(value.as_real()) < 9e18) ||
                                 std::string_view("xXo").find(f.type) != std::string_view::npos)) {
      fail(kType, fmt::format("%{} format: an integer is required, not float", f.type));
    }
    const int64_t n =
        value.is(Kind::real) ? static_cast<int64_t>(value.as_real()) : value.as_integer();
    std::string text = format_integer(n, f);
    if (f.precision >= 0) {
      const size_t digits = text.find_first_of("0123456789abcdefABCDEF");
      const int64_t have = static_cast<int64_t>(text.size() - digits);
      text.insert(digits, static_cast<size_t>(std::max<int64_t>(0, f.precision - have)), '0');
    }
    pad(out_, text, f, '>');
  }

  std::string_view format_;
  const Value& value_;
  Budget& budget_;
  size_t used_ = 0;
  BoundedText out_;
};

// ---- the {} notation

Field parse_spec(std::string_view spec) {
  Field f;
  size_t i = 0;
  constexpr std::string_view aligns = "<>^=";
  if (!spec.empty()) {
    const size_t first = decode(spec, 0).bytes;
    if (first < spec.size() && aligns.find(spec[first]) != std::string_view::npos) {
      f.fill = spec.substr(0, first);
      f.align = spec[first];
      i = first + 1;
    } else if (aligns.find(spec[0]) != std::string_view::npos) {
      f.align = spec[i++];
    }
  }
  if (i < spec.size() && std::string_view("+- ").find(spec[i]) != std::string_view::npos) {
    f.sign = spec[i++];
  }
  if (i < spec.size() && spec[i] == '#') {
    f.alternate = true;
    ++i;
  }
  if (i < spec.size() && spec[i] == '0') {
    if (f.align == 0) {
      f.fill = "0";
      f.align = '=';
    }
    ++i;
  }
  f.width = read_number(spec, i);
  if (i < spec.size() && (spec[i] == ',' || spec[i] == '_')) {
    f.grouping = spec[i++];
  }
  if (i < spec.size() && spec[i] == '.') {
    const size_t begun = ++i;
    f.precision = read_number(spec, i);
    if (i == begun) {
      fail(kType, "a format misses its precision after '.'");
    }
  }
  if (i < spec.size()) {
    f.type = spec[i++];
  }
  if (i != spec.size()) {
    fail(kType, fmt::format("invalid format '{}'", spec));
  }
  check_field(f);
  return f;
}

void format_value(BoundedText& out, const Value& value, std::string_view spec) {
  if (spec.empty()) {
    print(out, value);
    return;
  }
  Field f = parse_spec(spec);
  const auto invalid = [&] {
    fail(kType,
         fmt::format("invalid format '{}' for an object of type {}", spec, type_name(value)));
  };
  if (value.is(Kind::string)) {
    if ((f.type != 0 && f.type != 's') || f.grouping != 0 || f.sign != '-') {
      return invalid();
    }
    if (f.align == '=') {
      f.align = '<';
    }
    const std::string_view text = value.text();
    return pad(out, f.precision >= 0 ? substring(text, 0, f.precision) : text, f, '<');
  }
  if (!value.is_number()) {
    return invalid();
  }
  constexpr std::string_view real_types = "eEfFgG%";
  if (value.is(Kind::real) || (f.type != 0 && real_types.find(f.type) != std::string_view::npos)) {
    if (f.type != 0 && f.type != 'n' && real_types.find(f.type) == std::string_view::npos) {
      return invalid();
    }
    return pad(out, format_real(value.as_real(), f), f, '>');
  }
  if (value.is(Kind::boolean) && f.type == 0) {
    return pad(out, value.as_bool() ? "True" : "False", f, '<');
  }
  if (f.precision >= 0 ||
      (f.type != 0 && std::string_view("bcdoxXn").find(f.type) == std::string_view::npos)) {
    return invalid();
  }
  if (f.type == 'c') {
    std::string text;
    append(text, static_cast<char32_t>(value.as_integer() & 0x1FFFFF));
    return pad(out, text, f, '<');
  }
  pad(out, format_integer(value.as_integer(), f), f, '>');
}

class Brace {
 public:
  Brace(const Args& args, const Value* mapping, Budget& budget)
      : args_(args), mapping_(mapping), budget_(budget) {}

  std::string run(std::string_view format, int depth) {
    if (depth > 2) {
      fail(kType, "a format nests too deep");
    }
    budget_.scan(2 * format.size());
    BoundedText out(budget_);
    for (size_t i = 0; i < format.size();) {
      const char c = format[i];
      const bool doubled = i + 1 < format.size() && format[i + 1] == c;
      if ((c == '{' || c == '}') && doubled) {
        out += c;
        i += 2;
      } else if (c == '}') {
        fail(kType, "a single '}' stands in a format string");
      } else if (c == '{') {
        const size_t end = closing(format, i);
        field(out, format.substr(i + 1, end - i - 1), depth);
        i = end + 1;
      } else {
        const size_t end = std::min(format.find_first_of("{}", i), format.size());
        out += format.substr(i, end - i);
        i = end;
      }
    }
    return out.take();
  }

 private:
  static size_t closing(std::string_view format, size_t open) {
    int nested = 0;
    for (size_t i = open; i < format.size(); ++i) {
      nested += format[i] == '{' ? 1 : format[i] == '}' ? -1 : 0;
      if (nested == 0) {
        return i;
      }
    }
    fail(kType, "a '{' is not closed in a format string");
  }

  void field(BoundedText& out, std::string_view text, int depth) {
    budget_.step(kStatement);
    budget_.scan(2 * text.size());
    size_t name_end = 0;
    for (bool bracket = false; name_end < text.size(); ++name_end) {
      const char c = text[name_end];
      bracket = c == '[' || (bracket && c != ']');
      if (!bracket && (c == '!' || c == ':')) {
        break;
      }
    }
    const Value value = lookup(text.substr(0, name_end));
    text.remove_prefix(name_end);
    char conversion = 0;
    if (text.starts_with('!')) {
      if (text.size() < 2 || (text.size() > 2 && text[2] != ':')) {
        fail(kType, "a broken conversion in a format string");
      }
      conversion = text[1];
      text.remove_prefix(2);
    }
    const std::string spec = text.starts_with(':') ? run(text.substr(1), depth + 1) : "";
    if (conversion == 's') {
      return format_value(out, Value::string(to_string(value, budget_)), spec);
    }
    if (conversion == 'r' || conversion == 'a') {
      return format_value(out, Value::string(repr(value, budget_)), spec);
    }
    format_value(out, value, spec);
  }

  Value lookup(std::string_view name) {
    const size_t end = std::min(name.find_first_of(".["), name.size());
    Value value = first(name.substr(0, end));
    for (size_t i = end; i < name.size();) {
      if (name[i] == '.') {
        const size_t stop = std::min(name.find_first_of(".[", i + 1), name.size());
        value = get_attribute(value, Value::string(std::string(name.substr(i + 1, stop - i - 1))),
                              budget_);
        i = stop;
      } else {
        const size_t stop = name.find(']', i);
        if (name[i] != '[' || stop == std::string_view::npos) {
          fail(kType, "a broken field name in a format string");
        }
        const std::string_view key = name.substr(i + 1, stop - i - 1);
        size_t digits = 0;
        const int64_t index = read_number(key, digits);
        value = get_item(value,
                         digits == key.size() && digits > 0 ? Value::integer(index)
                                                            : Value::string(std::string(key)),
                         budget_);
        i = stop + 1;
      }
    }
    return value;
  }

  Value first(std::string_view name) {
    size_t digits = 0;
    const int64_t index = name.empty() ? automatic_++ : read_number(name, digits);
    if (name.empty() || (digits == name.size() && digits > 0)) {
      if (mapping_ != nullptr || index >= static_cast<int64_t>(args_.positional.size())) {
        fail(kType, fmt::format("a format asks for argument {}, which is not given", index));
      }
      return args_.positional[static_cast<size_t>(index)];
    }
    if (mapping_ != nullptr) {
      return get_item(*mapping_, Value::string(std::string(name)), budget_);
    }
    for (const auto& [key, value] : args_.named) {
      if (key == name) {
        return value;
      }
    }
    fail(kType, fmt::format("a format asks for argument '{}', which is not given", name));
  }

  const Args& args_;
  const Value* mapping_;
  Budget& budget_;
  int64_t automatic_ = 0;
};

Value same_kind(const Value& format, std::string text) {
  return format.is_markup() ? Value::markup(std::move(text)) : Value::string(std::move(text));
}

}  // namespace

Value percent_format(const Value& format, const Value& value, Budget& budget) {
  return same_kind(format, Percent(format.text(), value, budget).run());
}

Value brace_format(const Value& format, const Args& args, const Value* mapping, Budget& budget) {
  return same_kind(format, Brace(args, mapping, budget).run(format.text(), 0));
}

}  // namespace sft::jinja
