// obj[key], obj.name and obj[a:b:c], by the rules of Jinja's immutable sandbox.
#include <fmt/format.h>

#include <algorithm>

#include "jinja/call.h"
#include "jinja/interpreter.h"
#include "jinja/ops.h"
#include "jinja/text.h"

namespace sft::jinja {

namespace {

bool is_private(std::string_view name) {
  return name.size() > 4 && name.starts_with("__") && name.ends_with("__");
}

Value unsafe(const Value& object, std::string_view name) {
  return Value::undefined(
      fmt::format("access to attribute '{}' of '{}' object is unsafe.", name, type_name(object)),
      true);
}

// The attribute Python finds on the object itself; missing when it has none of that name.
Value own_attribute(const Value& object, const Value& name) {
  const std::string_view text = name.text();
  if (is_private(text) && !object.is_undefined()) {
    return unsafe(object, text);
  }
  switch (object.kind()) {
    case Kind::undefined:
      fail_undefined(object);
    case Kind::name_space: {
      const Value* found = object.get<Namespace>().attributes.find(text);
      return found == nullptr ? Value() : *found;
    }
    case Kind::loop:
      return loop_attribute(object, text);
    case Kind::macro:
      return macro_attribute(object, text);
    case Kind::tuple:
      if (object.get<List>().group && (text == "grouper" || text == "list")) {
        return object.items()[text == "list" ? 1 : 0];
      }
      break;
    case Kind::cycler:
      if (text == "current") {
        return object.get<Cycler>().items[object.get<Cycler>().position];
      }
      break;
    case Kind::joiner:
      if (text == "sep") {
        return object.get<Joiner>().separator;
      }
      break;
    default:
      break;
  }
  const NativeEntry* method = find_method(object, text);
  if (method == nullptr) {
    return Value();
  }
  return method->call == nullptr ? unsafe(object, text) : make_method(object, method);
}

// obj[key] of Python; missing where Python raises TypeError or LookupError.
Value own_item(const Value& object, const Value& key, Budget& budget) {
  switch (object.kind()) {
    case Kind::undefined:
      fail_undefined(object);
    case Kind::dict: {
      if (key.is(Kind::list) || key.is(Kind::dict)) {
        return Value();
      }
      const Value* found = object.dict().find(key, budget);
      return found == nullptr ? Value() : *found;
    }
    case Kind::string:
    case Kind::list:
    case Kind::tuple:
    case Kind::range:
      return key.is_integral() ? element(object, key.as_integer(), budget) : Value();
    default:
      return Value();
  }
}

struct SliceRange {
  int64_t start, step, count;
};

// Python's slice.indices: where to start, how far to step, how many to take.
SliceRange indices(int64_t size, const Value& start, const Value& stop, const Value& step) {
  const auto given = [](const Value& v) {
    if (!v.is(Kind::none) && !v.is_integral()) {
      fail(kType, fmt::format("slice indices must be integers or None, not {}", type_name(v)));
    }
    return !v.is(Kind::none);
  };
  const int64_t by = given(step) ? step.as_integer() : 1;
  if (by == 0) {
    fail(kType, "slice step cannot be zero");
  }
  const int64_t low = by > 0 ? 0 : -1, high = by > 0 ? size : size - 1;
  const auto clamp = [&](const Value& v, int64_t otherwise) {
    if (!given(v)) {
      return otherwise;
    }
    const int64_t n = v.as_integer();
    return n < 0 ? std::max(n + size, low) : std::min(n, high);
  };
  const int64_t from = clamp(start, by > 0 ? low : high);
  const int64_t to = clamp(stop, by > 0 ? high : low);
  if (by > 0) {
    return {from, by, from < to ? (to - from - 1) / by + 1 : 0};
  }
  const int64_t back = by == INT64_MIN ? INT64_MAX : -by;
  return {from, by, from > to ? (from - to - 1) / back + 1 : 0};
}

Value slice_string(const Value& object, const Value& start, const Value& stop, const Value& step,
                   Budget& budget) {
  const std::string_view text = object.text();
  budget.step(kObject);
  budget.scan(text.size());
  budget.room(static_cast<int64_t>(text.size()));
  const SliceRange r = indices(length(text), start, stop, step);
  std::string out;
  if (r.step == 1) {
    out = substring(text, r.start, r.start + r.count);
  } else {
    // The places of all characters, because the next one may lie anywhere.
    const Held held(budget, static_cast<int64_t>((text.size() + 1) * sizeof(size_t)));
    std::vector<size_t> places;
    places.reserve(text.size() + 1);
    for (size_t at = 0; at < text.size(); at += decode(text, at).bytes) {
      places.push_back(at);
    }
    places.push_back(text.size());
    for (int64_t i = 0; i < r.count; ++i) {
      const auto n = static_cast<size_t>(r.start + i * r.step);
      out += text.substr(places[n], places[n + 1] - places[n]);
    }
  }
  return object.is_markup() ? Value::markup(std::move(out)) : Value::string(std::move(out));
}

}  // namespace

Value element(const Value& sequence, int64_t index, Budget& budget) {
  if (sequence.is(Kind::string)) {
    const std::string_view text = sequence.text();
    budget.step(kObject);
    const auto reach = static_cast<uint64_t>(index < 0 ? INT64_MAX : index);
    budget.scan(static_cast<size_t>(std::min<uint64_t>(reach, text.size())));
    const int64_t size = index < 0 ? length(text) : 0;
    const int64_t at = index < 0 ? index + size : index;
    const std::string_view one = at < 0 ? std::string_view() : substring(text, at, at + 1);
    return one.empty() ? Value() : Value::string(std::string(one));
  }
  const int64_t size = require_length(sequence, budget);
  const int64_t at = index < 0 ? index + size : index;
  if (at < 0 || at >= size) {
    return Value();
  }
  if (sequence.is(Kind::range)) {
    return Value::integer(sequence.get<Range>().start + at * sequence.get<Range>().step);
  }
  return sequence.items()[static_cast<size_t>(at)];
}

Value get_item(const Value& object, const Value& key, Budget& budget) {
  Value found = own_item(object, key, budget);
  if (found.is(Kind::missing) && key.is(Kind::string)) {
    found = own_attribute(object, key);
  }
  return found.is(Kind::missing) ? Value::undefined_attribute(object, key) : found;
}

Value get_attribute(const Value& object, const Value& name, Budget& budget) {
  Value found = own_attribute(object, name);
  if (found.is(Kind::missing)) {
    found = own_item(object, name, budget);
  }
  return found.is(Kind::missing) ? Value::undefined_attribute(object, name) : found;
}

Value get_slice(const Value& object, const Value& start, const Value& stop, const Value& step,
                Budget& budget) {
  switch (object.kind()) {
    case Kind::undefined:
      fail_undefined(object);
    case Kind::string:
      return slice_string(object, start, stop, step, budget);
    case Kind::list:
    case Kind::tuple: {
      const auto& items = object.items();
      const SliceRange r = indices(static_cast<int64_t>(items.size()), start, stop, step);
      budget.step(r.count);
      budget.room(r.count, sizeof(Value));
      std::vector<Value> taken;
      taken.reserve(static_cast<size_t>(r.count));
      for (int64_t i = 0; i < r.count; ++i) {
        taken.push_back(items[static_cast<size_t>(r.start + i * r.step)]);
      }
      return object.is(Kind::list) ? Value::list(std::move(taken)) : Value::tuple(std::move(taken));
    }
    case Kind::range: {
      const auto& range = object.get<Range>();
      const SliceRange r = indices(range.size(), start, stop, step);
      auto part = std::make_unique<Range>();
      const int64_t by = r.count > 1 ? r.step : r.step > 0 ? 1 : -1;
      part->start = range.start + r.start * range.step;
      part->step = range.step * by;
      part->stop = part->start + r.count * part->step;
      return Value::object(Kind::range, part.release());
    }
    default:
      fail(kType, fmt::format("'{}' object cannot be sliced", type_name(object)));
  }
}

}  // namespace sft::jinja
