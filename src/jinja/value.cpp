#include "jinja/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "core/json.h"
#include "jinja/errors.h"
#include "jinja/ops.h"
#include "jinja/print.h"

namespace sft::jinja {

void fail(Code code, std::string message) {
  Error error(code, std::move(message));
  throw code == kLimit ? error.hint(std::string(kLimitHint)) : error;
}

namespace {

constexpr size_t kIndexedSize = 16;  // a dict larger than this is looked up by hash

uint16_t deeper(uint16_t depth) {
  if (depth >= kMaxDepth) {
    throw Error(kLimit, fmt::format("data nested deeper than {} levels", kMaxDepth))
        .hint("flatten the message or the tool definition");
  }
  return static_cast<uint16_t>(depth + 1);
}

uint16_t depth_of(const Value& value) { return value.is_object() ? value.object()->depth : 0; }

uint16_t depth_of(const std::vector<Value>& items) {
  uint16_t depth = 0;
  for (const Value& item : items) {
    depth = std::max(depth, depth_of(item));
  }
  return deeper(depth);
}

Value make_string(std::string text, bool markup) {
  auto string = std::make_unique<String>();
  string->own = std::move(text);
  string->text = string->own;
  string->markup = markup;
  return Value::object(Kind::string, string.release());
}

Value make_list(Kind kind, std::vector<Value> items) {
  auto list = std::make_unique<List>();
  list->depth = depth_of(items);
  list->items = std::move(items);
  return Value::object(kind, list.release());
}

Value convert(const Json& json, int depth) {
  if (depth > kMaxDepth) {
    deeper(kMaxDepth);
  }
  switch (json.type()) {
    case Json::value_t::boolean:
      return Value::boolean(json.get<bool>());
    case Json::value_t::number_integer:
      return Value::integer(json.get<int64_t>());
    case Json::value_t::number_unsigned: {
      const auto n = json.get<uint64_t>();
      if (n > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return Value::huge(std::to_string(n));
      }
      return Value::integer(static_cast<int64_t>(n));
    }
    case Json::value_t::number_float:
      return Value::real(json.get<double>());
    case Json::value_t::string:
      return Value::borrowed(json.get_ref<const std::string&>());
    case Json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const Json& item : json) {
        items.push_back(convert(item, depth + 1));
      }
      const Value list = Value::list(std::move(items));
      list.object()->given = true;
      return list;
    }
    case Json::value_t::object: {
      auto dict = std::make_unique<Dict>();
      const auto& members = json.get_ref<const Json::object_t&>();
      dict->items.reserve(members.size());
      for (const auto& [key, item] : members) {
        dict->add(Value::borrowed(key), convert(item, depth + 1));
      }
      dict->given = true;
      return dict.release()->finish();
    }
    default:
      return Value::none();
  }
}

// What an object takes beside what it refers to; some more for the allocator.
int64_t own_size(const Value& value) {
  constexpr size_t kAllocator = 16;
  switch (value.kind()) {
    case Kind::string:
      return static_cast<int64_t>(sizeof(String) + kAllocator + value.get<String>().own.capacity());
    case Kind::list:
    case Kind::tuple:
      return static_cast<int64_t>(sizeof(List) + 2 * kAllocator +
                                  value.items().capacity() * sizeof(Value));
    case Kind::dict: {
      constexpr size_t kIndexed = 64;  // what the index takes for a key
      const auto& items = value.dict().items;
      return static_cast<int64_t>(sizeof(Dict) + 2 * kAllocator +
                                  items.capacity() * 2 * sizeof(Value) +
                                  (items.size() > kIndexedSize ? items.size() * kIndexed : 0));
    }
    case Kind::undefined:
      return static_cast<int64_t>(sizeof(Undefined) + 2 * kAllocator +
                                  value.get<Undefined>().hint.capacity());
    default:
      return 256;
  }
}

}  // namespace

void adopt_new(Budget& budget, const Value& value) {
  value.object()->held = Held(budget, own_size(value));
  if (value.is(Kind::list) || value.is(Kind::tuple)) {
    budget.step(kObject + static_cast<int64_t>(value.items().size()));
    for (const Value& item : value.items()) {
      adopt(budget, item);
    }
  } else if (value.is(Kind::dict)) {
    budget.step(kObject + static_cast<int64_t>(value.dict().items.size()));
    for (const auto& [key, item] : value.dict().items) {
      adopt(budget, key);
      adopt(budget, item);
    }
  }
}

Value Value::string(std::string text) { return make_string(std::move(text), false); }
Value Value::huge(std::string digits) {
  const Value text = make_string(std::move(digits), false);
  return Value(Kind::huge, text.object());
}
Value Value::markup(std::string text) { return make_string(std::move(text), true); }

Value Value::borrowed(std::string_view text) {
  auto string = std::make_unique<String>();
  string->text = text;
  string->given = true;
  return Value(Kind::string, string.release());
}

Value Value::list(std::vector<Value> items) { return make_list(Kind::list, std::move(items)); }
Value Value::tuple(std::vector<Value> items) { return make_list(Kind::tuple, std::move(items)); }

Value Value::generator(const Value& source, std::function<Elements()> make) {
  auto generator = std::make_unique<Generator>();
  generator->depth = deeper(depth_of(source));
  generator->make = std::move(make);
  return Value(Kind::generator, generator.release());
}

void Generator::start() {
  if (make) {
    const auto run = std::exchange(make, nullptr);
    items = run();
  }
}

bool Generator::take(Value& element) {
  start();
  if (next >= items.size()) {
    return false;
  }
  element = std::move(items[next++]);
  return true;
}

Value Value::undefined(std::string hint, bool unsafe) {
  auto undefined = std::make_unique<Undefined>();
  undefined->hint = std::move(hint);
  undefined->unsafe = unsafe;
  return Value(Kind::undefined, undefined.release());
}

Value Value::undefined_name(std::string_view name) {
  auto undefined = std::make_unique<Undefined>();
  undefined->name = Value::borrowed(name);
  return Value(Kind::undefined, undefined.release());
}

Value Value::undefined_attribute(const Value& owner, const Value& name) {
  auto undefined = std::make_unique<Undefined>();
  undefined->owner_type = Value::borrowed(type_name(owner));
  undefined->name = name;
  undefined->depth = deeper(depth_of(name));
  return Value(Kind::undefined, undefined.release());
}

Value Value::from_json(const Json& json) { return convert(json, 0); }

std::string Undefined::message() const {
  if (!hint.empty()) {
    return hint;
  }
  if (name.is(Kind::missing)) {
    return "an undefined value was used";
  }
  if (owner_type.is(Kind::missing)) {
    return fmt::format("'{}' is undefined", name.text());
  }
  const std::string_view owner = owner_type.text();
  if (name.is(Kind::string)) {
    return fmt::format("'{} object' has no attribute '{}'", owner, name.text());
  }
  return fmt::format("{} object has no element {}", owner, brief(name));
}

const Value* Dict::find(std::string_view key) const {
  if (items.size() <= kIndexedSize) {
    for (const auto& [k, v] : items) {
      if (k.is(Kind::string) && k.text() == key) {
        return &v;
      }
    }
    return nullptr;
  }
  if (index_.empty()) {
    for (size_t i = 0; i < items.size(); ++i) {
      if (items[i].first.is(Kind::string)) {
        index_.emplace(items[i].first.text(), static_cast<uint32_t>(i));
      }
    }
  }
  const auto found = index_.find(key);
  return found == index_.end() ? nullptr : &items[found->second].second;
}

const Value* Dict::find(const Value& key, Budget& budget) const {
  if (key.is(Kind::string)) {
    budget.scan(key.text().size());
    return find(key.text());
  }
  require_hashable(key, budget);
  for (const auto& [k, v] : items) {
    budget.step();
    if (!k.is(Kind::string) && equal(k, key, budget)) {
      return &v;
    }
  }
  return nullptr;
}

void Dict::set(std::string_view key, Value value) {
  if (const Value* found = find(key)) {
    const_cast<Value&>(*found) = std::move(value);
    return;
  }
  items.emplace_back(Value::borrowed(key), std::move(value));
  if (!index_.empty()) {
    index_.emplace(key, static_cast<uint32_t>(items.size() - 1));
  }
}

void Dict::set(const Value& key, Value value, Budget& budget) {
  budget.step(kObject);
  if (const Value* found = find(key, budget)) {
    const_cast<Value&>(*found) = std::move(value);
    return;
  }
  items.emplace_back(key, std::move(value));
  if (!index_.empty() && key.is(Kind::string)) {
    index_.emplace(items.back().first.text(), static_cast<uint32_t>(items.size() - 1));
  }
}

Value Dict::finish() {
  const Value owner = Value::object(Kind::dict, this);  // frees it, should the bound throw
  uint16_t deepest = 0;
  for (const auto& [k, v] : items) {
    deepest = std::max({deepest, depth_of(k), depth_of(v)});
  }
  depth = deeper(deepest);
  return owner;
}

int64_t Range::size() const {
  if (step > 0) {
    return start < stop ? (stop - start - 1) / step + 1 : 0;
  }
  return start > stop ? (start - stop - 1) / -step + 1 : 0;
}

std::string_view type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::missing:
    case Kind::undefined:
      return "Undefined";
    case Kind::none:
      return "NoneType";
    case Kind::boolean:
      return "bool";
    case Kind::integer:
    case Kind::huge:
      return "int";
    case Kind::real:
      return "float";
    case Kind::string:
      return value.is_markup() ? "Markup" : "str";
    case Kind::list:
      return "list";
    case Kind::tuple:
      return "tuple";
    case Kind::dict:
      return "dict";
    case Kind::range:
      return "range";
    case Kind::view:
      switch (value.get<View>().of) {
        case ViewOf::keys:
          return "dict_keys";
        case ViewOf::values:
          return "dict_values";
        case ViewOf::items:
          return "dict_items";
      }
      return "dict_items";
    case Kind::generator:
      return "generator";
    case Kind::name_space:
      return "Namespace";
    case Kind::function:
      return "function";
    case Kind::method:
      return "builtin_function_or_method";
    case Kind::macro:
      return "Macro";
    case Kind::loop:
      return "LoopContext";
    case Kind::cycler:
      return "Cycler";
    case Kind::joiner:
      return "Joiner";
  }
  return "object";
}

}  // namespace sft::jinja
