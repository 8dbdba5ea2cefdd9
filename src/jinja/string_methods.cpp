#include "jinja/string_methods.h"

#include <fmt/format.h>

#include <algorithm>

#include "jinja/format.h"
#include "jinja/interpreter.h"
#include "jinja/ops.h"
#include "jinja/print.h"
#include "jinja/text.h"

namespace sft::jinja {

namespace {

// A string of the receiver's kind (markup stays markup).
Value like(const Value& self, std::string text) {
  return self.is_markup() ? Value::markup(std::move(text)) : Value::string(std::move(text));
}

using Change = std::string (*)(std::string_view);
template <Change change>
Value changed(Interpreter& interpreter, const Value& self, Args& args) {
  args.bind("a string method", {});
  charge_case_change(self.text(), interpreter.budget());
  return like(self, change(self.text()));
}

template <bool left, bool right>
Value strip(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("strip", {"chars"});
  std::string_view text = self.text();
  interpreter.budget().scan(text.size());
  interpreter.budget().room(static_cast<int64_t>(text.size()));
  if (a[0] == nullptr || a[0]->is(Kind::none)) {
    text = left ? strip_left(text) : text;
    text = right ? strip_right(text) : text;
  } else {
    const std::string_view set = to_text(*a[0], "strip: the characters");
    text = left ? strip_left(text, set, interpreter.budget()) : text;
    text = right ? strip_right(text, set, interpreter.budget()) : text;
  }
  return text.size() == self.text().size() ? self : like(self, std::string(text));
}

// ---- splitting and joining

// The pieces of a text, as they are found.
class Pieces {
 public:
  explicit Pieces(const Value& text, Budget& budget) : text_(text), budget_(budget) {}

  void add(std::string_view piece) {
    budget_.copy(piece.size());
    budget_.room(static_cast<int64_t>(piece.size()));
    items_.add(budget_, like(text_, std::string(piece)));
  }
  Value list() { return Value::list(std::move(items_)); }
  Value reversed() {
    std::reverse(items_.begin(), items_.end());
    return list();
  }

 private:
  const Value& text_;
  Budget& budget_;
  Elements items_;
};

void split_space(std::string_view text, int64_t limit, Pieces& pieces) {
  text = strip_left(text);
  while (!text.empty()) {
    if (limit-- == 0) {
      pieces.add(text);
      break;
    }
    size_t end = 0;
    while (end < text.size()) {
      const CodePoint p = decode(text, end);
      if (is_space(p.value)) {
        break;
      }
      end += p.bytes;
    }
    pieces.add(text.substr(0, end));
    text = strip_left(text.substr(end));
  }
}

void rsplit_space(std::string_view text, int64_t limit, Pieces& pieces) {
  text = strip_right(text);
  while (!text.empty()) {
    if (limit-- == 0) {
      pieces.add(text);
      break;
    }
    const std::string_view rest = without_last_word(text);
    pieces.add(text.substr(rest.size()));
    text = strip_right(rest);
  }
}

void split_on(std::string_view text, std::string_view separator, int64_t limit, Pieces& pieces) {
  size_t at = 0;
  for (; limit != 0; --limit) {
    const size_t found = jinja::find(text, separator, at);
    if (found == std::string_view::npos) {
      break;
    }
    pieces.add(text.substr(at, found - at));
    at = found + separator.size();
  }
  pieces.add(text.substr(at));
}

// Looks through the text backward, which is linear whatever the separator is.
void rsplit_on(std::string_view text, std::string_view separator, int64_t limit, Pieces& pieces) {
  const std::string back(text.rbegin(), text.rend()), what(separator.rbegin(), separator.rend());
  const size_t size = text.size();
  size_t at = 0;
  for (; limit != 0; --limit) {
    const size_t found = jinja::find(back, what, at);
    if (found == std::string_view::npos) {
      break;
    }
    pieces.add(text.substr(size - found, found - at));
    at = found + what.size();
  }
  pieces.add(text.substr(0, size - at));
}

template <bool from_right>
Value split(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("split", {"sep", "maxsplit"});
  const int64_t limit =
      std::max<int64_t>(-1, a[1] == nullptr ? -1 : to_integer(*a[1], "split: maxsplit"));
  const std::string_view text = self.text();
  Budget& budget = interpreter.budget();
  Pieces pieces(self, budget);
  if (a[0] == nullptr || a[0]->is(Kind::none)) {
    budget.scan(2 * text.size());
    if (from_right) {
      rsplit_space(text, limit, pieces);
      return pieces.reversed();
    }
    split_space(text, limit, pieces);
    return pieces.list();
  }
  const std::string_view separator = to_text(*a[0], "split: the separator");
  if (separator.empty()) {
    fail(kType, "split: the separator is empty");
  }
  charge_find(text, separator, budget);
  if (from_right) {
    budget.scan(text.size() + separator.size());  // both are turned round
    const Held held(budget, static_cast<int64_t>(text.size() + separator.size()));
    rsplit_on(text, separator, limit, pieces);
    return pieces.reversed();
  }
  split_on(text, separator, limit, pieces);
  return pieces.list();
}

Value splitlines(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("splitlines", {"keepends"});
  const bool keep = a[0] != nullptr && truth(*a[0]);
  Pieces pieces(self, interpreter.budget());
  std::string_view text = self.text();
  interpreter.budget().scan(text.size());
  while (!text.empty()) {
    const Line line = first_line(text);
    pieces.add(text.substr(0, line.bytes + (keep ? line.end_bytes : 0)));
    text.remove_prefix(line.bytes + line.end_bytes);
  }
  return pieces.list();
}

template <bool from_right>
Value partition(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("partition", {"sep"}, 1);
  const std::string_view separator = to_text(*a[0], "partition: the separator");
  const std::string_view text = self.text();
  if (separator.empty()) {
    fail(kType, "partition: the separator is empty");
  }
  charge_find(text, separator, interpreter.budget());
  interpreter.budget().scan(text.size());
  interpreter.budget().room(2 * static_cast<int64_t>(text.size()));
  const size_t found = from_right ? find_last(text, separator) : jinja::find(text, separator);
  const auto part = [&](std::string_view s) { return like(self, std::string(s)); };
  if (found == std::string_view::npos) {
    return from_right ? Value::tuple({part(""), part(""), self})
                      : Value::tuple({self, part(""), part("")});
  }
  return Value::tuple(
      {part(text.substr(0, found)), part(separator), part(text.substr(found + separator.size()))});
}

Value join(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("join", {"iterable"}, 1);
  BoundedText out(interpreter.budget());
  bool first = true;
  for (const Value& item : to_vector(*a[0], interpreter.budget())) {
    if (!first) {
      out += self.text();
    }
    first = false;
    const std::string_view text = to_text(item, "join: an element");
    if (self.is_markup() && !item.is_markup()) {
      out += html_escape(text, interpreter.budget());
    } else {
      out += text;
    }
  }
  return like(self, out.take());
}

// ---- searching

// text[start:stop] as the searching methods take it, and the code point it starts at; `valid` is
// false when start lies behind the end, where nothing is found, not even "".
struct Part {
  std::string_view text;
  int64_t start;
  bool valid;
};

// The part of a text from position `start` to `stop`: both are counted to.
void charge_part(std::string_view text, Budget& budget) { budget.scan(2 * text.size()); }

// What is looked for, the text or a part of it (backward: in a copy), and what was found counted.
void charge_search(std::string_view text, std::string_view what, Budget& budget) {
  charge_part(text, budget);
  charge_find(text, what, budget);
  budget.room(static_cast<int64_t>(text.size()));
}

Part part_of(std::string_view text, const Value* start, const Value* stop) {
  const auto given = [](const Value* v) { return v != nullptr && !v->is(Kind::none); };
  if (!given(start) && !given(stop)) {
    return {text, 0, true};
  }
  const int64_t size = length(text);
  const auto clamp = [&](const Value* v, int64_t otherwise) {
    const int64_t n = given(v) ? to_integer(*v, "the position") : otherwise;
    return std::max<int64_t>(0, n < 0 ? n + size : n);
  };
  const int64_t from = clamp(start, 0), to = std::min(size, clamp(stop, size));
  if (from > to) {
    return {{}, from, false};
  }
  return {substring(text, from, to), from, true};
}

template <bool last>
int64_t find_position(Interpreter& interpreter, const Value& self, Args& args,
                      std::string_view method) {
  const Bound a = args.bind(method, {"sub", "start", "end"}, 1);
  const std::string_view what = to_text(*a[0], "the text to find");
  charge_search(self.text(), what, interpreter.budget());
  const Part part = part_of(self.text(), a[1], a[2]);
  if (!part.valid) {
    return -1;
  }
  const size_t found = last ? find_last(part.text, what) : jinja::find(part.text, what);
  return found == std::string_view::npos ? -1 : part.start + length(part.text.substr(0, found));
}

template <bool last>
Value find_method(Interpreter& interpreter, const Value& self, Args& args) {
  return Value::integer(find_position<last>(interpreter, self, args, "find"));
}

template <bool last>
Value index(Interpreter& interpreter, const Value& self, Args& args) {
  const int64_t found = find_position<last>(interpreter, self, args, "index");
  if (found < 0) {
    fail(kType, "index: substring not found");
  }
  return Value::integer(found);
}

Value count(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("count", {"sub", "start", "end"}, 1);
  const std::string_view what = to_text(*a[0], "count: the text to find");
  charge_search(self.text(), what, interpreter.budget());
  const Part part = part_of(self.text(), a[1], a[2]);
  if (!part.valid) {
    return Value::integer(0);
  }
  if (what.empty()) {
    return Value::integer(length(part.text) + 1);
  }
  int64_t n = 0;
  for (size_t at = jinja::find(part.text, what); at != std::string_view::npos;
       at = jinja::find(part.text, what, at + what.size())) {
    interpreter.budget().step(kFound);
    ++n;
  }
  return Value::integer(n);
}

template <bool at_end>
Value starts_or_ends(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind(at_end ? "endswith" : "startswith", {"prefix", "start", "end"}, 1);
  if (a[1] != nullptr || a[2] != nullptr) {
    charge_part(self.text(), interpreter.budget());
  }
  const Part part = part_of(self.text(), a[1], a[2]);
  const auto matches = [&](const Value& what) {
    const std::string_view text = to_text(what, "startswith/endswith: the argument");
    interpreter.budget().copy(text.size());
    return part.valid && (at_end ? part.text.ends_with(text) : part.text.starts_with(text));
  };
  if (a[0]->is(Kind::tuple)) {
    const auto& all = a[0]->items();
    return Value::boolean(std::any_of(all.begin(), all.end(), matches));
  }
  return Value::boolean(matches(*a[0]));
}

template <bool suffix>
Value remove_affix(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("removeprefix", {"affix"}, 1);
  const std::string_view affix = to_text(*a[0], "removeprefix/removesuffix: the argument");
  std::string_view text = self.text();
  interpreter.budget().copy(2 * text.size());
  interpreter.budget().room(static_cast<int64_t>(text.size()));
  if (suffix ? text.ends_with(affix) : text.starts_with(affix)) {
    text = suffix ? text.substr(0, text.size() - affix.size()) : text.substr(affix.size());
  }
  return like(self, std::string(text));
}

Value replaced(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("replace", {"old", "new", "count"}, 2);
  const std::string_view from = to_text(*a[0], "replace: the old text");
  std::string to(to_text(*a[1], "replace: the new text"));
  if (self.is_markup() && !a[1]->is_markup()) {
    to = html_escape(to, interpreter.budget());
  }
  const int64_t limit = a[2] == nullptr ? -1 : to_integer(*a[2], "replace: count");
  return like(self, replace(self.text(), from, to, limit, interpreter.budget()));
}

// ---- padding

template <char align>
Value justify(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("center/ljust/rjust", {"width", "fillchar"}, 1);
  const std::string fill(a[1] == nullptr ? " " : to_text(*a[1], "the fill character"));
  if (length(fill) != 1) {
    fail(kType, "the fill character must be exactly one character long");
  }
  interpreter.budget().copy(self.text().size());
  const int64_t size = length(self.text());
  const int64_t width = to_integer(*a[0], "the width");
  const int64_t missing = std::max<int64_t>(0, width - size);
  // Python puts the odd blank of `center` left or right by the parity of both numbers.
  const int64_t left = align == '<'   ? 0
                       : align == '>' ? missing
                                      : missing / 2 + (missing & width & 1);
  BoundedText out(interpreter.budget());
  out.repeat(left, fill);
  out += self.text();
  out.repeat(missing - left, fill);
  return like(self, out.take());
}

Value zfill(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("zfill", {"width"}, 1);
  const std::string_view text = self.text();
  interpreter.budget().copy(text.size());
  const int64_t missing = std::max<int64_t>(0, to_integer(*a[0], "the width")) - length(text);
  const size_t sign = text.starts_with('+') || text.starts_with('-') ? 1 : 0;
  BoundedText out(interpreter.budget());
  out += text.substr(0, sign);
  out.repeat(missing, "0");
  out += text.substr(sign);
  return like(self, out.take());
}

Value expand_tabs(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("expandtabs", {"tabsize"});
  const int64_t tab = a[0] == nullptr ? 8 : to_integer(*a[0], "expandtabs: tabsize");
  interpreter.budget().scan(self.text().size());
  BoundedText out(interpreter.budget());
  int64_t column = 0;
  for (std::string_view rest = self.text(), c; !rest.empty(); rest.remove_prefix(c.size())) {
    c = rest.substr(0, decode(rest, 0).bytes);
    if (c == "\t") {
      const int64_t blanks = tab > 0 ? tab - column % tab : 0;
      out.repeat(blanks, " ");
      column += blanks;
    } else {
      out += c;
      column = c == "\n" || c == "\r" ? 0 : column + 1;
    }
  }
  return like(self, out.take());
}

// ---- predicates

using Test = bool (*)(char32_t);
template <Test test, bool when_empty = false>
Value all_are(Interpreter& interpreter, const Value& self, Args& args) {
  args.bind("a string predicate", {});
  const std::string_view text = self.text();
  interpreter.budget().step(2 * static_cast<int64_t>(text.size()));
  for (size_t i = 0; i < text.size();) {
    const CodePoint p = decode(text, i);
    if (!test(p.value)) {
      return Value::boolean(false);
    }
    i += p.bytes;
  }
  return Value::boolean(when_empty || !text.empty());
}

bool is_ascii(char32_t c) { return c < 0x80; }
bool is_alnum(char32_t c) { return is_alpha(c) || is_decimal(c) || is_digit(c) || is_numeric(c); }

Value is_identifier(Interpreter& interpreter, const Value& self, Args& args) {
  args.bind("isidentifier", {});
  const std::string_view text = self.text();
  interpreter.budget().step(2 * static_cast<int64_t>(text.size()));
  bool all = !text.empty() && !is_decimal(decode(text, 0).value);
  for (size_t at = 0; all && at < text.size();) {
    const auto [c, bytes] = decode(text, at);
    all = c == '_' || is_alnum(c);
    at += bytes;
  }
  return Value::boolean(all);
}

Value is_titled(Interpreter& interpreter, const Value& self, Args& args) {
  args.bind("istitle", {});
  bool inside = false, any = false;
  interpreter.budget().step(2 * static_cast<int64_t>(self.text().size()));
  for (size_t at = 0; at < self.text().size();) {
    const auto [c, bytes] = decode(self.text(), at);
    at += bytes;
    const bool starts = is_upper(c) || is_title(c);
    if (starts == inside && (starts || is_lower(c))) {
      return Value::boolean(false);
    }
    inside = starts || is_lower(c);
    any = any || inside;
  }
  return Value::boolean(any);
}

Value is_all_lower(Interpreter& interpreter, const Value& self, Args&) {
  interpreter.budget().step(2 * static_cast<int64_t>(self.text().size()));
  return Value::boolean(is_cased_text(self.text(), false));
}
Value is_all_upper(Interpreter& interpreter, const Value& self, Args&) {
  interpreter.budget().step(2 * static_cast<int64_t>(self.text().size()));
  return Value::boolean(is_cased_text(self.text(), true));
}

Value formatted(Interpreter& interpreter, const Value& self, Args& args) {
  return brace_format(self, args, nullptr, interpreter.budget());
}

Value formatted_map(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("format_map", {"mapping"}, 1);
  return brace_format(self, args, a[0], interpreter.budget());
}

Value unsupported(Interpreter&, const Value&, Args&) {
  fail(kUnsupported, "encode, translate and maketrans are not supported in a chat template");
}

constexpr NativeEntry kStringMethods[] = {
    {"strip", strip<true, true>},
    {"split", split<false>},
    {"startswith", starts_or_ends<false>},
    {"endswith", starts_or_ends<true>},
    {"lstrip", strip<true, false>},
    {"rstrip", strip<false, true>},
    {"replace", replaced},
    {"upper", changed<upper>},
    {"lower", changed<lower>},
    {"title", changed<title>},
    {"capitalize", changed<capitalize>},
    {"join", join},
    {"format", formatted},
    {"find", find_method<false>},
    {"rfind", find_method<true>},
    {"index", index<false>},
    {"rindex", index<true>},
    {"count", count},
    {"rsplit", split<true>},
    {"splitlines", splitlines},
    {"partition", partition<false>},
    {"rpartition", partition<true>},
    {"removeprefix", remove_affix<false>},
    {"removesuffix", remove_affix<true>},
    {"swapcase", changed<swap_case>},
    {"casefold", changed<case_fold>},
    {"center", justify<'^'>},
    {"ljust", justify<'<'>},
    {"rjust", justify<'>'>},
    {"zfill", zfill},
    {"expandtabs", expand_tabs},
    {"isspace", all_are<is_space>},
    {"isalpha", all_are<is_alpha>},
    {"isalnum", all_are<is_alnum>},
    {"isdecimal", all_are<is_decimal>},
    {"isdigit", all_are<is_digit>},
    {"isnumeric", all_are<is_numeric>},
    {"isascii", all_are<is_ascii, true>},
    {"isprintable", all_are<is_printable, true>},
    {"islower", is_all_lower},
    {"isupper", is_all_upper},
    {"istitle", is_titled},
    {"isidentifier", is_identifier},
    {"format_map", formatted_map},
    {"encode", unsupported},
    {"translate", unsupported},
    {"maketrans", unsupported},
};

}  // namespace

std::span<const NativeEntry> string_methods() { return kStringMethods; }

}  // namespace sft::jinja
