#include "jinja/print.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/error.h"
#include "core/python_number.h"
#include "jinja/errors.h"
#include "jinja/interpreter.h"
#include "jinja/ops.h"
#include "jinja/text.h"

namespace sft::jinja {

namespace {

void repr_to(BoundedText& out, const Value& value, int depth);

void append_integer(BoundedText& out, int64_t n) {
  char buffer[24];
  const char* end = std::to_chars(buffer, buffer + sizeof buffer, n).ptr;
  out += std::string_view(buffer, static_cast<size_t>(end - buffer));
}

// How many bytes `text` begins with that are `plain`; they are written in one piece.
template <typename Plain>
size_t leading(std::string_view text, Plain plain) {
  size_t n = 0;
  while (n < text.size() && plain(static_cast<unsigned char>(text[n]))) {
    ++n;
  }
  return n;
}

void repr_string(BoundedText& out, std::string_view text) {
  out.budget().scan(text.size());
  const bool single = text.find('\'') != std::string_view::npos;
  const char quote = single && text.find('"') == std::string_view::npos ? '"' : '\'';
  out += quote;
  const auto plain = [&](unsigned char c) {
    return c >= 0x20 && c < 0x7F && c != static_cast<unsigned char>(quote) && c != '\\';
  };
  for (size_t i = 0; i < text.size();) {
    if (const size_t run = leading(text.substr(i), plain); run > 0) {
      out += text.substr(i, run);
      i += run;
      continue;
    }
    const CodePoint p = decode(text, i);
    const char32_t c = p.value;
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c >= 0x80 && is_printable(c)) {
      out += text.substr(i, p.bytes);
    } else {
      const auto n = static_cast<uint32_t>(c);
      out += c < 0x100     ? fmt::format("\\x{:02x}", n)
             : c < 0x10000 ? fmt::format("\\u{:04x}", n)
                           : fmt::format("\\U{:08x}", n);
    }
    i += p.bytes;
  }
  out += quote;
}

void repr_items(BoundedText& out, const std::vector<Value>& items, int depth) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) {
      out += ", ";
    }
    repr_to(out, items[i], depth);
  }
}

void repr_dict(BoundedText& out, const Dict& dict, int depth) {
  out += '{';
  for (size_t i = 0; i < dict.items.size(); ++i) {
    if (i > 0) {
      out += ", ";
    }
    repr_to(out, dict.items[i].first, depth);
    out += ": ";
    repr_to(out, dict.items[i].second, depth);
  }
  out += '}';
}

void repr_view(BoundedText& out, const Value& value, int depth) {
  out += type_name(value);
  out += "([";
  const auto& view = value.get<View>();
  bool first = true;
  for (const auto& [key, item] : view.dict.dict().items) {
    if (!first) {
      out += ", ";
    }
    first = false;
    if (view.of == ViewOf::items) {
      out += '(';
    }
    if (view.of != ViewOf::values) {
      repr_to(out, key, depth);
    }
    if (view.of == ViewOf::items) {
      out += ", ";
    }
    if (view.of != ViewOf::keys) {
      repr_to(out, item, depth);
    }
    if (view.of == ViewOf::items) {
      out += ')';
    }
  }
  out += "])";
}

void repr_range(BoundedText& out, const Range& range) {
  out += range.step == 1 ? fmt::format("range({}, {})", range.start, range.stop)
                         : fmt::format("range({}, {}, {})", range.start, range.stop, range.step);
}

void repr_to(BoundedText& out, const Value& value, int depth) {
  if (depth > kMaxDepth) {
    fail(kLimit, fmt::format("a value nested deeper than {} levels is printed", kMaxDepth));
  }
  out.budget().step();
  switch (value.kind()) {
    case Kind::missing:
    case Kind::undefined:
      out += "Undefined";
      break;
    case Kind::none:
      out += "None";
      break;
    case Kind::boolean:
      out += value.as_bool() ? "True" : "False";
      break;
    case Kind::integer:
      append_integer(out, value.as_integer());
      break;
    case Kind::huge:
      out += value.text();
      break;
    case Kind::real:
      out += python_repr(value.as_real());
      break;
    case Kind::string:
      if (value.is_markup()) {
        out += "Markup(";
        repr_string(out, value.text());
        out += ')';
      } else {
        repr_string(out, value.text());
      }
      break;
    case Kind::list:
      out += '[';
      repr_items(out, value.items(), depth + 1);
      out += ']';
      break;
    case Kind::tuple:
      out += '(';
      repr_items(out, value.items(), depth + 1);
      out += value.items().size() == 1 ? ",)" : ")";
      break;
    case Kind::dict:
      repr_dict(out, value.dict(), depth + 1);
      break;
    case Kind::range:
      repr_range(out, value.get<Range>());
      break;
    case Kind::view:
      repr_view(out, value, depth + 1);
      break;
    case Kind::name_space:
      out += "<Namespace ";
      repr_dict(out, value.get<Namespace>().attributes, depth + 1);
      out += '>';
      break;
    default:
      out += describe_object(value);
  }
}

void json_string(BoundedText& out, std::string_view text, bool ensure_ascii) {
  out.budget().scan(text.size());
  const auto plain = [&](unsigned char c) {
    return c >= 0x20 && c != '"' && c != '\\' && (c < 0x80 || !ensure_ascii);
  };
  out += '"';
  for (size_t i = 0; i < text.size();) {
    if (const size_t run = leading(text.substr(i), plain); run > 0) {
      out += text.substr(i, run);
      i += run;
      continue;
    }
    const auto byte = static_cast<unsigned char>(text[i]);
    size_t bytes = 1;
    switch (byte) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (byte < 0x20) {
          out += fmt::format("\\u{:04x}", byte);
        } else {
          out.budget().step(kObject);
          const CodePoint p = decode(text, i);
          bytes = p.bytes;
          const auto c = static_cast<uint32_t>(p.value);
          out += c < 0x10000
                     ? fmt::format("\\u{:04x}", c)
                     : fmt::format("\\u{:04x}\\u{:04x}", 0xD7C0 + (c >> 10), 0xDC00 + (c & 0x3FF));
        }
    }
    i += bytes;
  }
  out += '"';
}

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, Budget& budget) : style_(style), out_(budget) {}

  void write(const Value& value, int depth) {
    out_.budget().step();
    switch (value.kind()) {
      case Kind::none:
        out_ += "null";
        break;
      case Kind::boolean:
        out_ += value.as_bool() ? "true" : "false";
        break;
      case Kind::integer:
        append_integer(out_, value.as_integer());
        break;
      case Kind::huge:
        out_ += value.text();
        break;
      case Kind::real:
        out_ += real(value.as_real());
        break;
      case Kind::string:
        json_string(out_, value.text(), style_.ensure_ascii);
        break;
      case Kind::list:
      case Kind::tuple:
        array(value.items(), depth + 1);
        break;
      case Kind::dict:
        object(value.dict(), depth + 1);
        break;
      default:
        fail(kType,
             fmt::format("tojson: an object of type {} has no form in JSON", type_name(value)));
    }
  }

  std::string take() { return out_.take(); }

 private:
  static std::string real(double d) {
    if (std::isnan(d)) {
      return "NaN";
    }
    if (std::isinf(d)) {
      return d > 0 ? "Infinity" : "-Infinity";
    }
    return python_repr(d);
  }

  void line(int depth) {
    if (style_.pretty) {
      out_ += '\n';
      out_.repeat(depth, style_.indent);
    }
  }

  void array(const std::vector<Value>& items, int depth) {
    if (items.empty()) {
      out_ += "[]";
      return;
    }
    out_ += '[';
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) {
        out_ += style_.item_separator;
      }
      line(depth);
      write(items[i], depth);
    }
    line(depth - 1);
    out_ += ']';
  }

  void key(const Value& key) {
    switch (key.kind()) {
      case Kind::string:
        json_string(out_, key.text(), style_.ensure_ascii);
        break;
      case Kind::none:
      case Kind::boolean:
      case Kind::integer:
      case Kind::real:
        out_ += '"';
        write(key, 0);
        out_ += '"';
        break;
      default:
        fail(kType, fmt::format("tojson: keys must be str, int, float, bool or None, not {}",
                                type_name(key)));
    }
  }

  void object(const Dict& dict, int depth) {
    if (dict.items.empty()) {
      out_ += "{}";
      return;
    }
    std::vector<const std::pair<Value, Value>*> members;
    const Held held(out_.budget(), static_cast<int64_t>(dict.items.size() * sizeof(void*)));
    members.reserve(dict.items.size());
    for (const auto& member : dict.items) {
      members.push_back(&member);
    }
    if (style_.sort_keys) {
      std::stable_sort(members.begin(), members.end(), [this](const auto* a, const auto* b) {
        return less(a->first, b->first, out_.budget());
      });
    }
    out_ += '{';
    for (size_t i = 0; i < members.size(); ++i) {
      if (i > 0) {
        out_ += style_.item_separator;
      }
      line(depth);
      key(members[i]->first);
      out_ += style_.key_separator;
      write(members[i]->second, depth);
    }
    line(depth - 1);
    out_ += '}';
  }

  const JsonStyle& style_;
  BoundedText out_;
};

}  // namespace

void print(BoundedText& out, const Value& value) {
  switch (value.kind()) {
    case Kind::missing:
    case Kind::undefined:
      break;
    case Kind::string:
      out += value.text();
      break;
    default:
      repr_to(out, value, 0);
  }
}

std::string to_string(const Value& value, Budget& budget) {
  BoundedText out(budget);
  print(out, value);
  return out.take();
}

std::string repr(const Value& value, Budget& budget) {
  BoundedText out(budget);
  repr_to(out, value, 0);
  return out.take();
}

std::string brief(const Value& value) {
  constexpr BudgetLimits kBrief{.steps = 2000, .bytes = 400};
  Budget budget(kLimit, "a value", kBrief, "");
  try {
    return repr(value, budget);
  } catch (const Error&) {
    return fmt::format("of type {}", type_name(value));
  }
}

std::string to_json(const Value& value, const JsonStyle& style, Budget& budget) {
  JsonWriter writer(style, budget);
  writer.write(value, 0);
  return writer.take();
}

}  // namespace sft::jinja
