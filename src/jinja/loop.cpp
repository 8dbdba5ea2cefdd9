#include "jinja/loop.h"

#include <fmt/format.h>

#include "jinja/ops.h"
#include "jinja/text.h"

namespace sft::jinja {

Cursor::Cursor(Interpreter& interpreter, Value source, const For& node)
    : interpreter_(interpreter), source_(std::move(source)), node_(node) {
  if (!is_iterable(source_) || source_.is(Kind::loop)) {
    fail(kType, fmt::format("'{}' object is not iterable", type_name(source_)));
  }
}

bool Cursor::step(Value& element) {
  switch (source_.kind()) {
    case Kind::string: {
      const std::string_view text = source_.text();
      if (at_ >= text.size()) {
        return false;
      }
      const size_t bytes = decode(text, at_).bytes;
      element = Value::string(std::string(text.substr(at_, bytes)));
      at_ += bytes;
      return true;
    }
    case Kind::list:
    case Kind::tuple:
      if (at_ >= source_.items().size()) {
        return false;
      }
      element = source_.items()[at_++];
      return true;
    case Kind::dict:
      if (at_ >= source_.dict().items.size()) {
        return false;
      }
      element = source_.dict().items[at_++].first;
      return true;
    case Kind::range: {
      const auto& range = source_.get<Range>();
      if (static_cast<int64_t>(at_) >= range.size()) {
        return false;
      }
      element = Value::integer(range.start + static_cast<int64_t>(at_++) * range.step);
      return true;
    }
    case Kind::view: {
      const auto& view = source_.get<View>();
      const auto& items = view.dict.dict().items;
      if (at_ >= items.size()) {
        return false;
      }
      const auto& [key, value] = items[at_++];
      element = view.of == ViewOf::keys     ? key
                : view.of == ViewOf::values ? value
                                            : Value::tuple({key, value});
      return true;
    }
    case Kind::generator:
      return source_.get<Generator>().take(element);
    default:
      return false;
  }
}

bool Cursor::filtered(Value& element) {
  while (step(element)) {
    interpreter_.budget().step(kStatement);
    if (node_.test == nullptr) {
      return true;
    }
    interpreter_.assign(node_.test_target, element);
    if (truth(interpreter_.evaluate(*node_.test))) {
      return true;
    }
  }
  return false;
}

bool Cursor::next(Value& element) {
  if (ahead_.empty()) {
    return filtered(element);
  }
  element = std::move(ahead_[ahead_at_]);
  if (++ahead_at_ == ahead_.size()) {
    ahead_ = Elements();
    ahead_at_ = 0;
  }
  return true;
}

bool Cursor::peek(Value& element) {
  if (ahead_.empty()) {
    Value found;
    if (!filtered(found)) {
      return false;
    }
    ahead_.add(interpreter_.budget(), std::move(found));
  }
  element = ahead_[ahead_at_];
  return true;
}

int64_t Cursor::length(int64_t taken) {
  if (node_.test == nullptr && has_length(source_)) {
    return require_length(source_, interpreter_.budget());
  }
  Value element;
  while (filtered(element)) {
    ahead_.add(interpreter_.budget(), std::move(element));
  }
  return taken + static_cast<int64_t>(ahead_.size() - ahead_at_);
}

int64_t loop_length(const Value& value) {
  auto& loop = value.get<LoopObject>();
  if (loop.length < 0) {
    loop.length = loop.cursor.length(loop.index0 + 1);
  }
  return loop.length;
}

Value loop_attribute(const Value& value, std::string_view name) {
  auto& loop = value.get<LoopObject>();
  if (name == "index0") {
    return Value::integer(loop.index0);
  }
  if (name == "index") {
    return Value::integer(loop.index0 + 1);
  }
  if (name == "first") {
    return Value::boolean(loop.index0 == 0);
  }
  Value next;
  if (name == "last") {
    return Value::boolean(!loop.cursor.peek(next));
  }
  if (name == "length") {
    return Value::integer(loop_length(value));
  }
  if (name == "revindex") {
    return Value::integer(loop_length(value) - loop.index0);
  }
  if (name == "revindex0") {
    return Value::integer(loop_length(value) - loop.index0 - 1);
  }
  if (name == "previtem") {
    return loop.index0 == 0 ? Value::undefined("there is no previous item") : loop.before;
  }
  if (name == "nextitem") {
    return loop.cursor.peek(next) ? next : Value::undefined("there is no next item");
  }
  if (name == "depth") {
    return Value::integer(1);
  }
  if (name == "depth0") {
    return Value::integer(0);
  }
  const NativeEntry* method = find_method(value, name);
  return method == nullptr ? Value() : make_method(value, method);
}

}  // namespace sft::jinja
