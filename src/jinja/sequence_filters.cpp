#include "jinja/sequence_filters.h"

#include <fmt/format.h>

#include <algorithm>

#include "jinja/interpreter.h"
#include "jinja/ops.h"
#include "jinja/print.h"
#include "jinja/text.h"

namespace sft::jinja {

namespace {

bool given(const Value* value) { return value != nullptr && !value->is(Kind::none); }
bool is_set(const Value* value) { return value != nullptr && truth(*value); }

Value fold_case(Value value, Budget& budget) {
  if (!value.is(Kind::string)) {
    return value;
  }
  charge_case_change(value.text(), budget);
  Value folded = Value::string(lower(value.text()));
  adopt(budget, folded);
  return folded;
}

// "a.b.0": attributes and elements to follow from an item.
class Path {
 public:
  Path(const Value* attribute, Budget& budget) : budget_(budget) {
    if (!given(attribute)) {
      return;
    }
    if (!attribute->is(Kind::string)) {
      parts_.push_back(*attribute);
      return;
    }
    add(attribute->text());
  }
  Path(std::string_view attribute, Budget& budget) : budget_(budget) { add(attribute); }

  Value follow(Value item, const Value* otherwise = nullptr) const {
    for (const Value& part : parts_) {
      budget_.step(kFound);
      item = get_item(item, part, budget_);
      if (given(otherwise) && item.is_undefined()) {
        item = *otherwise;
      }
    }
    return item;
  }

 private:
  void add(std::string_view text) {
    for (size_t at = 0; at <= text.size();) {
      const size_t end = std::min(text.find('.', at), text.size());
      const std::string_view part = text.substr(at, end - at);
      const bool number =
          !part.empty() && part.size() < 18 &&
          std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
      budget_.copy(part.size());
      budget_.room(static_cast<int64_t>(part.size()));
      parts_.add(budget_, number ? Value::integer(std::stoll(std::string(part)))
                                 : Value::string(std::string(part)));
      at = end + 1;
    }
  }

  Budget& budget_;
  Elements parts_;
};

struct Keyed {
  Value key, value;
};

// Values with what they are sorted by.
class Sorted {
 public:
  explicit Sorted(Budget& budget) : budget_(budget) {}

  void add(Value key, Value value) {
    held_.more(budget_, 3 * sizeof(Keyed));  // the vector doubles, and sorting takes half as much
    adopt(budget_, key);
    adopt(budget_, value);
    items.push_back({std::move(key), std::move(value)});
  }

  void sort(bool reverse) {
    std::stable_sort(items.begin(), items.end(), [&](const Keyed& a, const Keyed& b) {
      return reverse ? less(b.key, a.key, budget_) : less(a.key, b.key, budget_);
    });
  }

  Value values() {
    Elements out;
    for (Keyed& item : items) {
      out.add(budget_, std::move(item.value));
    }
    return Value::list(std::move(out));
  }

  std::vector<Keyed> items;

 private:
  Budget& budget_;
  Held held_;
};

// ---- single elements

Value first(Interpreter& interpreter, const Value& self, Args& args) {
  args.bind("first", {});
  if (self.is(Kind::list) || self.is(Kind::tuple)) {
    return self.items().empty() ? Value::undefined("No first item, sequence was empty.")
                                : self.items()[0];
  }
  if (self.is(Kind::generator)) {
    Value element;
    return self.get<Generator>().take(element)
               ? element
               : Value::undefined("No first item, sequence was empty.");
  }
  const Elements items = to_vector(self, interpreter.budget());
  return items.empty() ? Value::undefined("No first item, sequence was empty.") : items.front();
}

Value last(Interpreter& interpreter, const Value& self, Args& args) {
  args.bind("last", {});
  if (self.is(Kind::generator)) {
    fail(kType, "last: 'generator' object is not reversible");
  }
  const Elements items = to_vector(self, interpreter.budget());
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

template <bool largest>
Value min_or_max(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("min/max", {"case_sensitive", "attribute"});
  Budget& budget = interpreter.budget();
  const Path path(a[1], budget);
  Value best, best_key;
  for (const Value& item : to_vector(self, budget)) {
    Value key = path.follow(item);
    key = is_set(a[0]) ? key : fold_case(std::move(key), budget);
    if (best.is(Kind::missing) ||
        (largest ? less(best_key, key, budget) : less(key, best_key, budget))) {
      best = item;
      best_key = std::move(key);
    }
  }
  return best.is(Kind::missing) ? Value::undefined("No aggregated item, sequence was empty.")
                                : best;
}

Value sum(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("sum", {"attribute", "start"});
  const Path path(a[0], interpreter.budget());
  Value total = a[1] == nullptr ? Value::integer(0) : *a[1];
  if (total.is(Kind::string)) {
    fail(kType, "sum: strings cannot be summed, use join");
  }
  for (const Value& item : to_vector(self, interpreter.budget())) {
    total = binary(BinaryOp::add, total, path.follow(item), interpreter.budget());
    adopt(interpreter.budget(), total);
  }
  return total;
}

// ---- whole sequences

Value join(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("join", {"d", "attribute"});
  const std::string separator = a[0] == nullptr ? "" : to_string(*a[0], interpreter.budget());
  const Path path(a[1], interpreter.budget());
  BoundedText out(interpreter.budget());
  bool begun = false;
  for (const Value& item : to_vector(self, interpreter.budget())) {
    if (begun) {
      out += separator;
    }
    begun = true;
    print(out, path.follow(item));
  }
  return Value::string(out.take());
}

Value list(Interpreter& interpreter, const Value& self, Args& args) {
  args.bind("list", {});
  return self.is(Kind::list) ? self : Value::list(to_vector(self, interpreter.budget()));
}

Elements items(Interpreter& interpreter, const Value& self, Args& args) {
  args.bind("items", {});
  Elements pairs;
  if (!self.is_undefined()) {
    if (!self.is(Kind::dict)) {
      fail(kType, fmt::format("items: only a mapping has items, not {}", type_name(self)));
    }
    for (const auto& [key, value] : self.dict().items) {
      interpreter.budget().step();
      pairs.add(interpreter.budget(), Value::tuple({key, value}));
    }
  }
  return pairs;
}

Value reverse(Interpreter& interpreter, const Value& self, Args& args) {
  args.bind("reverse", {});
  if (self.is(Kind::string)) {
    return get_slice(self, Value::none(), Value::none(), Value::integer(-1), interpreter.budget());
  }
  Elements all = to_vector(self, interpreter.budget());
  std::reverse(all.begin(), all.end());
  const Value reversed = Value::list(std::move(all));
  if (self.is(Kind::generator)) {
    return reversed;
  }
  adopt(interpreter.budget(), reversed);
  return Value::generator(
      self, [&interpreter, reversed] { return to_vector(reversed, interpreter.budget()); });
}

Value sort(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("sort", {"reverse", "case_sensitive", "attribute"});
  std::vector<Path> paths;
  if (given(a[2]) && a[2]->is(Kind::string)) {
    std::string_view rest = a[2]->text();
    for (size_t comma = 0; comma != std::string_view::npos;) {
      comma = rest.find(',');
      paths.emplace_back(rest.substr(0, comma), interpreter.budget());
      rest.remove_prefix(comma == std::string_view::npos ? 0 : comma + 1);
    }
  } else {
    paths.emplace_back(a[2], interpreter.budget());
  }
  Sorted sorted(interpreter.budget());
  for (const Value& item : to_vector(self, interpreter.budget())) {
    Elements keys;
    for (const Path& path : paths) {
      Value key = path.follow(item);
      key = is_set(a[1]) ? key : fold_case(std::move(key), interpreter.budget());
      keys.add(interpreter.budget(), std::move(key));
    }
    sorted.add(Value::list(std::move(keys)), item);
  }
  sorted.sort(is_set(a[0]));
  return sorted.values();
}

Value dict_sort(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("dictsort", {"case_sensitive", "by", "reverse"});
  const std::string_view by = a[1] == nullptr ? "key" : to_text(*a[1], "dictsort: by");
  if (self.is_undefined()) {
    fail_undefined(self);
  }
  if (!self.is(Kind::dict) || (by != "key" && by != "value")) {
    fail(kType, fmt::format("dictsort: {} by '{}'", type_name(self), by));
  }
  Sorted sorted(interpreter.budget());
  for (const auto& [key, value] : self.dict().items) {
    const Value& order = by == "key" ? key : value;
    sorted.add(is_set(a[0]) ? order : fold_case(order, interpreter.budget()),
               Value::tuple({key, value}));
  }
  sorted.sort(is_set(a[2]));
  return sorted.values();
}

Elements unique(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("unique", {"case_sensitive", "attribute"});
  Budget& budget = interpreter.budget();
  const Path path(a[1], budget);
  Dict seen;
  Held held;
  Elements out;
  for (const Value& item : to_vector(self, budget)) {
    Value key = path.follow(item);
    key = is_set(a[0]) ? key : fold_case(std::move(key), budget);
    adopt(budget, key);
    if (seen.find(key, budget) == nullptr) {
      held.more(budget, kDictEntry);
      seen.set(key, Value::none(), budget);
      out.add(budget, item);
    }
  }
  return out;
}

Value group_by(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("groupby", {"attribute", "default", "case_sensitive"}, 1);
  Budget& budget = interpreter.budget();
  const Path path(a[0], budget);
  Sorted sorted(budget);
  for (const Value& item : to_vector(self, budget)) {
    Value key = path.follow(item, a[1]);
    sorted.add(is_set(a[2]) ? key : fold_case(std::move(key), budget), item);
  }
  sorted.sort(false);
  const std::vector<Keyed>& keyed = sorted.items;
  Elements groups;
  for (size_t begin = 0; begin < keyed.size();) {
    size_t end = begin;
    Elements members;
    for (; end < keyed.size() && equal(keyed[begin].key, keyed[end].key, budget); ++end) {
      members.add(budget, keyed[end].value);
    }
    Value group =
        Value::tuple({path.follow(keyed[begin].value, a[1]), Value::list(std::move(members))});
    group.get<List>().group = true;
    groups.add(budget, std::move(group));
    begin = std::max(end, begin + 1);
  }
  return Value::list(std::move(groups));
}

Elements batch(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("batch", {"linecount", "fill_with"}, 1);
  const int64_t size = to_integer(*a[0], "batch: linecount");
  Budget& budget = interpreter.budget();
  Elements batches, current;
  for (const Value& item : to_vector(self, budget)) {
    if (static_cast<int64_t>(current.size()) == size) {
      batches.add(budget, Value::list(std::exchange(current, {})));
    }
    current.add(budget, item);
  }
  if (!current.empty()) {
    const int64_t missing = size - static_cast<int64_t>(current.size());
    if (given(a[1]) && missing > 0) {
      budget.step(missing);
      budget.room(2 * (missing + static_cast<int64_t>(current.size())), sizeof(Value));
      current.insert(current.end(), static_cast<size_t>(missing), *a[1]);
    }
    batches.add(budget, Value::list(std::move(current)));
  }
  return batches;
}

Elements slice(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("slice", {"slices", "fill_with"}, 1);
  const int64_t slices = to_integer(*a[0], "slice: slices");
  const Elements all = to_vector(self, interpreter.budget());
  if (slices == 0) {
    fail(kType, "slice: division by zero");
  }
  Elements out;
  const auto size = static_cast<int64_t>(all.size());
  for (int64_t i = 0, at = 0; i < slices; ++i) {
    const bool extra = i < size % slices;
    const int64_t end = at + size / slices + (extra ? 1 : 0);
    interpreter.budget().step(kStatement);
    std::vector<Value> part(all.begin() + at, all.begin() + end);
    if (given(a[1]) && !extra) {
      part.push_back(*a[1]);
    }
    out.add(interpreter.budget(), Value::list(std::move(part)));
    at = end;
  }
  return out;
}

// ---- map, select and their kin

// The filter or test whose name is the first positional argument, with the arguments after it.
struct Inner {
  const NativeEntry* entry = nullptr;
  Args args;

  Value call(Interpreter& interpreter, const Value& item) {
    interpreter.budget().step(kStatement + static_cast<int64_t>(args.positional.size()));
    Args copy = args;
    return entry->call(interpreter, item, copy);
  }
};

Inner inner(const Args& args, size_t at, bool filter) {
  const std::string_view name =
      to_text(args.positional[at], filter ? "map: the filter's name" : "select: the test's name");
  Inner result;
  result.entry = filter ? find_filter(name) : find_test(name);
  if (result.entry == nullptr) {
    fail(kUnknown, fmt::format("the chat template uses a {} named '{}', which there is not",
                               filter ? "filter" : "test", name));
  }
  result.args.positional.assign(args.positional.begin() + static_cast<std::ptrdiff_t>(at) + 1,
                                args.positional.end());
  result.args.named = args.named;
  return result;
}

Elements map(Interpreter& interpreter, const Value& self, Args& args) {
  Elements out;
  if (!truth(self)) {
    return out;
  }
  const bool by_attribute =
      args.positional.empty() &&
      std::any_of(args.named.begin(), args.named.end(),
                  [](const auto& entry) { return entry.first == "attribute"; });
  if (by_attribute) {
    const Bound a = args.bind("map", {"attribute", "default"});
    const Path path(a[0], interpreter.budget());
    for (const Value& item : to_vector(self, interpreter.budget())) {
      out.add(interpreter.budget(), path.follow(item, a[1]));
    }
    return out;
  }
  if (args.positional.empty()) {
    fail(kType, "map needs the name of a filter, or attribute=");
  }
  Inner filter = inner(args, 0, true);
  for (const Value& item : to_vector(self, interpreter.budget())) {
    out.add(interpreter.budget(), filter.call(interpreter, item));
  }
  return out;
}

template <bool keep, bool by_attribute>
Elements select(Interpreter& interpreter, const Value& self, Args& args) {
  Elements out;
  if (!truth(self)) {
    return out;
  }
  constexpr size_t offset = by_attribute ? 1 : 0;
  if (args.positional.size() < offset) {
    fail(kType, "selectattr/rejectattr needs the name of an attribute");
  }
  const Path path(by_attribute ? &args.positional[0] : nullptr, interpreter.budget());
  const bool has_test = args.positional.size() > offset;
  Inner test = has_test ? inner(args, offset, false) : Inner();
  for (const Value& item : to_vector(self, interpreter.budget())) {
    const Value tested = path.follow(item);
    if (truth(has_test ? test.call(interpreter, tested) : tested) == keep) {
      out.add(interpreter.budget(), item);
    }
  }
  return out;
}

// A filter that is a generator in Python: it runs when its first element is asked for.
using MakeElements = Elements (*)(Interpreter&, const Value&, Args&);
template <MakeElements elements>
Value lazy(Interpreter& interpreter, const Value& self, Args& args) {
  return Value::generator(
      self, [&interpreter, self, args]() mutable { return elements(interpreter, self, args); });
}

constexpr NativeEntry kSequenceFilters[] = {
    {"batch", lazy<batch>},
    {"dictsort", dict_sort},
    {"first", first},
    {"groupby", group_by},
    {"items", lazy<items>},
    {"join", join},
    {"last", last},
    {"list", list},
    {"map", lazy<map>},
    {"max", min_or_max<true>},
    {"min", min_or_max<false>},
    {"reject", lazy<select<false, false>>},
    {"rejectattr", lazy<select<false, true>>},
    {"reverse", reverse},
    {"select", lazy<select<true, false>>},
    {"selectattr", lazy<select<true, true>>},
    {"slice", lazy<slice>},
    {"sort", sort},
    {"sum", sum},
    {"unique", lazy<unique>},
};

}  // namespace

std::span<const NativeEntry> sequence_filters() { return kSequenceFilters; }

}  // namespace sft::jinja
