// The methods of dicts, lists, tuples and Jinja's own objects, and the global functions.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <span>

#include "core/error.h"
#include "jinja/interpreter.h"
#include "jinja/loop.h"
#include "jinja/ops.h"
#include "jinja/print.h"
#include "jinja/string_methods.h"

namespace sft::jinja {

namespace {

// ---- dict

Value dict_get(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("get", {"key", "default"}, 1);
  const Value* found = self.dict().find(*a[0], interpreter.budget());
  return found != nullptr ? *found : a[1] != nullptr ? *a[1] : Value::none();
}

Value make_view(const Value& dict, ViewOf of) {
  auto view = std::make_unique<View>();
  view->depth = dict.object()->depth;
  view->dict = dict;
  view->of = of;
  return Value::object(Kind::view, view.release());
}

Value dict_keys(Interpreter&, const Value& self, Args& args) {
  args.bind("keys", {});
  return make_view(self, ViewOf::keys);
}
Value dict_values(Interpreter&, const Value& self, Args& args) {
  args.bind("values", {});
  return make_view(self, ViewOf::values);
}
Value dict_items(Interpreter&, const Value& self, Args& args) {
  args.bind("items", {});
  return make_view(self, ViewOf::items);
}

Value same(Interpreter&, const Value& self, Args& args) {
  args.bind("copy", {});
  return self;  // never changed, so as good as a copy
}

constexpr NativeEntry kDictMethods[] = {
    {"get", dict_get},   {"items", dict_items},   {"keys", dict_keys},  {"values", dict_values},
    {"copy", same},      {"clear", nullptr},      {"pop", nullptr},     {"popitem", nullptr},
    {"update", nullptr}, {"setdefault", nullptr}, {"fromkeys", nullptr}};

// ---- list, tuple and range

Value list_index(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("index", {"value", "start", "stop"}, 1);
  const Elements items = to_vector(self, interpreter.budget());
  const auto size = static_cast<int64_t>(items.size());
  const auto limit = [&](const Value* v, int64_t otherwise) {
    const int64_t n = v == nullptr ? otherwise : to_integer(*v, "index: the limit");
    return std::clamp<int64_t>(n < 0 ? n + size : n, 0, size);
  };
  const int64_t stop = limit(a[2], size);
  for (int64_t i = limit(a[1], 0); i < stop; ++i) {
    if (equal(items[static_cast<size_t>(i)], *a[0], interpreter.budget())) {
      return Value::integer(i);
    }
  }
  fail(kType, fmt::format("{} is not in the {}", brief(*a[0]), type_name(self)));
}

Value list_count(Interpreter& interpreter, const Value& self, Args& args) {
  const Bound a = args.bind("count", {"value"}, 1);
  const Elements items = to_vector(self, interpreter.budget());
  return Value::integer(std::count_if(items.begin(), items.end(), [&](const Value& item) {
    return equal(item, *a[0], interpreter.budget());
  }));
}

constexpr NativeEntry kListMethods[] = {
    {"index", list_index}, {"count", list_count}, {"copy", same},       {"append", nullptr},
    {"clear", nullptr},    {"pop", nullptr},      {"reverse", nullptr}, {"insert", nullptr},
    {"sort", nullptr},     {"extend", nullptr},   {"remove", nullptr}};
constexpr NativeEntry kTupleMethods[] = {{"index", list_index}, {"count", list_count}};

// ---- float

Value real_is_integer(Interpreter&, const Value& self, Args& args) {
  args.bind("is_integer", {});
  return Value::boolean(self.as_real() ==
                        static_cast<double>(static_cast<int64_t>(self.as_real())));
}
constexpr NativeEntry kRealMethods[] = {{"is_integer", real_is_integer}};

// ---- loop, cycler

Value loop_cycle(Interpreter&, const Value& self, Args& args) {
  if (args.positional.empty()) {
    fail(kType, "loop.cycle needs at least one value");
  }
  const auto index = static_cast<size_t>(self.get<LoopObject>().index0);
  return args.positional[index % args.positional.size()];
}

Value loop_changed(Interpreter& interpreter, const Value& self, Args& args) {
  auto& loop = self.get<LoopObject>();
  const bool same_as_before =
      loop.changed_called &&
      std::equal(loop.changed.begin(), loop.changed.end(), args.positional.begin(),
                 args.positional.end(),
                 [&](const Value& a, const Value& b) { return equal(a, b, interpreter.budget()); });
  loop.changed = args.positional;
  loop.changed_called = true;
  return Value::boolean(!same_as_before);
}
constexpr NativeEntry kLoopMethods[] = {{"cycle", loop_cycle}, {"changed", loop_changed}};

Value cycler_next(Interpreter&, const Value& self, Args& args) {
  args.bind("next", {});
  auto& cycler = self.get<Cycler>();
  const Value value = cycler.items[cycler.position];
  cycler.position = (cycler.position + 1) % cycler.items.size();
  return value;
}
Value cycler_reset(Interpreter&, const Value& self, Args& args) {
  args.bind("reset", {});
  self.get<Cycler>().position = 0;
  return Value::none();
}
constexpr NativeEntry kCyclerMethods[] = {{"next", cycler_next}, {"reset", cycler_reset}};

// ---- global functions

Value global_range(Interpreter&, const Value&, Args& args) {
  const Bound a = args.bind("range", {"start", "stop", "step"}, 1);
  auto range = std::make_unique<Range>();
  if (a[1] == nullptr) {
    range->stop = to_integer(*a[0], "range: stop");
  } else {
    range->start = to_integer(*a[0], "range: start");
    range->stop = to_integer(*a[1], "range: stop");
  }
  range->step = a[2] == nullptr ? 1 : to_integer(*a[2], "range: step");
  if (range->step == 0) {
    fail(kType, "range: step must not be zero");
  }
  constexpr uint64_t kMaxRange = 100000;  // as Jinja's sandbox has it
  const bool up = range->step > 0;
  const bool empty = up ? range->start >= range->stop : range->start <= range->stop;
  const auto low = static_cast<uint64_t>(up ? range->start : range->stop);
  const auto high = static_cast<uint64_t>(up ? range->stop : range->start);
  const uint64_t step =
      up ? static_cast<uint64_t>(range->step) : uint64_t{0} - static_cast<uint64_t>(range->step);
  if (!empty && (high - low - 1) / step + 1 > kMaxRange) {
    fail(kLimit, fmt::format("range is larger than the {} a template may have", kMaxRange));
  }
  return Value::object(Kind::range, range.release());
}

std::unique_ptr<Dict> make_dict(Interpreter& interpreter, Args& args, std::string_view function) {
  auto dict = std::make_unique<Dict>();
  Held held;
  if (args.positional.size() > 1) {
    fail(kType, fmt::format("{} takes at most 1 positional argument", function));
  }
  if (!args.positional.empty() && args.positional[0].is(Kind::dict)) {
    const auto size = static_cast<int64_t>(args.positional[0].dict().items.size());
    interpreter.budget().step(size);
    interpreter.budget().room(size, kDictEntry);
    dict->items = args.positional[0].dict().items;
  } else if (!args.positional.empty()) {
    for (const Value& pair : to_vector(args.positional[0], interpreter.budget())) {
      const Elements parts = to_vector(pair, interpreter.budget());
      if (parts.size() != 2) {
        fail(kType,
             fmt::format("{}: an element has {} parts, 2 are needed", function, parts.size()));
      }
      held.more(interpreter.budget(), kDictEntry);
      adopt(interpreter.budget(), parts[0]);
      adopt(interpreter.budget(), parts[1]);
      dict->set(parts[0], parts[1], interpreter.budget());
    }
  }
  for (auto& [name, value] : args.named) {
    dict->set(Value::string(std::string(name)), value, interpreter.budget());
  }
  return dict;
}

Value global_dict(Interpreter& interpreter, const Value&, Args& args) {
  return make_dict(interpreter, args, "dict").release()->finish();
}

Value global_namespace(Interpreter& interpreter, const Value&, Args& args) {
  std::unique_ptr<Dict> dict = make_dict(interpreter, args, "namespace");
  for (const auto& member : dict->items) {
    if (member.first.is(Kind::string) && member.first.text().starts_with('_')) {
      fail(kUnsafe, fmt::format("a namespace cannot hold '{}': its name starts with '_'",
                                member.first.text()));
    }
  }
  return interpreter.make_namespace(std::move(*dict));
}

Value global_cycler(Interpreter&, const Value&, Args& args) {
  if (args.positional.empty() || !args.named.empty()) {
    fail(kType, "cycler needs at least one value");
  }
  const Value items = Value::list(args.positional);  // checks how deep they nest
  auto cycler = std::make_unique<Cycler>();
  cycler->depth = items.object()->depth;
  cycler->items = std::move(args.positional);
  return Value::object(Kind::cycler, cycler.release());
}

Value global_joiner(Interpreter&, const Value&, Args& args) {
  const Bound a = args.bind("joiner", {"sep"});
  auto joiner = std::make_unique<Joiner>();
  joiner->separator = a[0] == nullptr ? Value::string(", ") : *a[0];
  return Value::object(Kind::joiner, joiner.release());
}

Value global_raise(Interpreter& interpreter, const Value&, Args& args) {
  const Bound a = args.bind("raise_exception", {"message"}, 1);
  throw Error(kRaised, to_string(*a[0], interpreter.budget()))
      .hint("the chat template refused this conversation; change the data or the template");
}

Value global_strftime(Interpreter&, const Value&, Args& args) {
  const Bound a = args.bind("strftime_now", {"format"}, 1);
  const std::string format(to_text(*a[0], "strftime_now: the format"));
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char buffer[4096];
  const size_t n = std::strftime(buffer, sizeof buffer, format.c_str(), &local);
  if (n == 0 && !format.empty()) {
    fail(kLimit, "strftime_now: the text is too long");
  }
  return Value::string(std::string(buffer, n));
}

constexpr NativeEntry kGlobals[] = {
    {"range", global_range},          {"dict", global_dict},     {"namespace", global_namespace},
    {"cycler", global_cycler},        {"joiner", global_joiner}, {"raise_exception", global_raise},
    {"strftime_now", global_strftime}};

const NativeEntry* find_in(std::span<const NativeEntry> table, std::string_view name) {
  const auto found = std::find_if(table.begin(), table.end(),
                                  [&](const NativeEntry& entry) { return entry.name == name; });
  return found == table.end() ? nullptr : &*found;
}

}  // namespace

const NativeEntry* find_global(std::string_view name) { return find_in(kGlobals, name); }

const NativeEntry* find_method(const Value& self, std::string_view name) {
  switch (self.kind()) {
    case Kind::string:
      return find_in(string_methods(), name);
    case Kind::dict:
      return find_in(kDictMethods, name);
    case Kind::list:
      return find_in(kListMethods, name);
    case Kind::tuple:
    case Kind::range:
      return find_in(kTupleMethods, name);
    case Kind::real:
      return find_in(kRealMethods, name);
    case Kind::loop:
      return find_in(kLoopMethods, name);
    case Kind::cycler:
      return find_in(kCyclerMethods, name);
    default:
      return nullptr;
  }
}

}  // namespace sft::jinja
