#include "jinja/interpreter.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "jinja/loop.h"
#include "jinja/ops.h"
#include "jinja/print.h"

namespace sft::jinja {

Interpreter::~Interpreter() {
  for (Value& value : namespaces_) {
    value.get<Namespace>().attributes.items.clear();
  }
}

Value Interpreter::make_namespace(Dict attributes) {
  auto object = std::make_unique<Namespace>();
  object->attributes.items = std::move(attributes.items);
  Value value = Value::object(Kind::name_space, object.release());
  namespaces_.push_back(value);
  budget_.hold(256);  // for good
  return value;
}

std::string Interpreter::run(FindVariable find, void* context) {
  auto root = std::make_unique<Activation>();
  root->slots.resize(template_.slots);
  activation_ = root.get();
  activations_.push_back(std::move(root));
  try {
    for (const auto& [name, slot] : template_.variables) {
      Value value = find(context, name);
      if (value.is(Kind::missing)) {
        if (const NativeEntry* entry = find_global(name)) {
          auto function = std::make_unique<Function>();
          function->entry = entry;
          value = Value::object(Kind::function, function.release());
        }
      }
      activation_->slots[slot] = std::move(value);
    }
    execute(template_.body);
    locate_captured_generation();
  } catch (Error& error) {
    error.at(fmt::format("{}:{}", template_.name, line_));
    throw;
  }
  return out_.take();
}

// A generation block inside a macro or a block set is counted at the place the output had reached
// when it ran, as transformers does; that is right only when its text does land there.
void Interpreter::locate_captured_generation() {
  for (const auto& [begin, text] : captured_generation_) {
    if (out_.text().compare(begin, text.size(), text) != 0) {
      throw Error("M158",
                  "a generation block stands inside a macro or a block set, and its text "
                  "is not where the output had come to")
          .hint("put {% generation %} around the place where the macro's text is printed");
    }
    generation_.push_back(
        {static_cast<uint32_t>(begin), static_cast<uint32_t>(begin + text.size())});
  }
  std::stable_sort(generation_.begin(), generation_.end(),
                   [](const Span& a, const Span& b) { return a.begin < b.begin; });
}

Interpreter::Flow Interpreter::execute(const Block& block) {
  for (const auto& statement : block) {
    const Flow flow = execute(*statement);
    if (flow != Flow::normal) {
      return flow;
    }
  }
  return Flow::normal;
}

Interpreter::Flow Interpreter::execute(const Statement& statement) {
  line_ = statement.line;
  budget_.step(kStatement);
  switch (statement.kind) {
    case StatementKind::text:
      out_ += static_cast<const Text&>(statement).text;
      return Flow::normal;
    case StatementKind::print: {
      print(out_, evaluate(*static_cast<const Print&>(statement).value));
      return Flow::normal;
    }
    case StatementKind::set: {
      const auto& node = static_cast<const Set&>(statement);
      assign(node.target, evaluate(*node.value));
      return Flow::normal;
    }
    case StatementKind::macro: {
      const auto& node = static_cast<const Macro&>(statement);
      at(node.address) = make_macro(node);
      return Flow::normal;
    }
    case StatementKind::loop_break:
      return Flow::loop_break;
    case StatementKind::loop_continue:
      return Flow::loop_continue;
    default:
      break;
  }
  const Depth depth(budget_);
  switch (statement.kind) {
    case StatementKind::condition:
      return condition(static_cast<const If&>(statement));
    case StatementKind::loop:
      return loop(static_cast<const For&>(statement));
    case StatementKind::set_block:
      return set_block(static_cast<const BlockStatement&>(statement));
    case StatementKind::filter_block:
      return filter_block(static_cast<const BlockStatement&>(statement));
    case StatementKind::with:
      return with(static_cast<const With&>(statement));
    case StatementKind::generation:
      generation(static_cast<const BlockStatement&>(statement));
      return Flow::normal;
    default:
      call_block(static_cast<const Macro&>(statement));
      return Flow::normal;
  }
}

Interpreter::Flow Interpreter::condition(const If& node) {
  for (const auto& [test, body] : node.branches) {
    if (truth(evaluate(*test))) {
      return execute(body);
    }
  }
  return execute(node.otherwise);
}

Interpreter::Flow Interpreter::loop(const For& node) {
  auto owned = std::make_unique<LoopObject>(*this, evaluate(*node.iterable), node);
  LoopObject& loop = *owned;
  const Value keep = Value::object(Kind::loop, owned.release());
  // `loop.changed(loop)` would make the object hold itself.
  const auto forget = [](LoopObject* object) { object->changed.clear(); };
  const std::unique_ptr<LoopObject, decltype(forget)> guard(&loop, forget);
  Value element;
  while (loop.cursor.next(element)) {
    ++loop.index0;
    enter(node.body_entry);
    if (node.uses_loop) {
      loop.before = std::move(loop.current);
      loop.current = element;
      activation_->slots[node.loop_slot] = keep;
    }
    assign(node.target, std::move(element));
    if (execute(node.body) == Flow::loop_break) {
      break;
    }
  }
  if (loop.index0 < 0 && !node.otherwise.empty()) {
    enter(node.otherwise_entry);
    return execute(node.otherwise);
  }
  return Flow::normal;
}

void Interpreter::enter(const ScopeEntry& entry) {
  for (const auto& [slot, outside] : entry.copies) {
    activation_->slots[slot] = at(outside);
  }
}

Interpreter::Flow Interpreter::capture(const Block& body, const ScopeEntry& entry,
                                       std::string& text) {
  enter(entry);
  if (captures_++ == 0) {
    main_size_ = out_.size();
  }
  BoundedText outer = std::exchange(out_, BoundedText(budget_));
  const Flow flow = execute(body);
  text = std::exchange(out_, std::move(outer)).take();
  --captures_;
  return flow;
}

Value Interpreter::apply_filters(const Expr& filter, Value input) {
  const Value* outer = std::exchange(filter_input_, &input);
  Value result = evaluate(filter);
  filter_input_ = outer;
  return result;
}

Interpreter::Flow Interpreter::set_block(const BlockStatement& node) {
  std::string text;
  const Flow flow = capture(node.body, node.entry, text);
  if (flow == Flow::normal) {
    Value value = Value::string(std::move(text));
    adopt(budget_, value);
    if (node.filter != nullptr) {
      value = apply_filters(*node.filter, std::move(value));
    }
    assign(node.target, std::move(value));
  }
  return flow;
}

Interpreter::Flow Interpreter::filter_block(const BlockStatement& node) {
  std::string text;
  const Flow flow = capture(node.body, node.entry, text);
  if (flow == Flow::normal) {
    const Value captured = Value::string(std::move(text));
    adopt(budget_, captured);
    print(out_, apply_filters(*node.filter, captured));
  }
  return flow;
}

void Interpreter::generation(const BlockStatement& node) {
  if (captures_ == 0) {
    enter(node.entry);
    const auto begin = static_cast<uint32_t>(out_.size());
    execute(node.body);
    generation_.push_back({begin, static_cast<uint32_t>(out_.size())});
    return;
  }
  std::string text;
  capture(node.body, node.entry, text);
  out_ += text;
  budget_.hold(static_cast<int64_t>(text.size()));  // for good
  captured_generation_.emplace_back(main_size_, std::move(text));
}

Interpreter::Flow Interpreter::with(const With& node) {
  std::vector<Value> values;
  values.reserve(node.values.size());
  for (const auto& [target, value] : node.values) {
    values.push_back(evaluate(*value));
  }
  enter(node.entry);
  for (size_t i = 0; i < values.size(); ++i) {
    assign(node.values[i].first, std::move(values[i]));
  }
  return execute(node.body);
}

void Interpreter::call_block(const Macro& node) {
  const auto& call_node = static_cast<const Call&>(*node.call);
  Args args = arguments(call_node.arguments);
  args.named.emplace_back("caller", make_macro(node));
  print(out_, call(evaluate(*call_node.callee), args));
}

void Interpreter::assign(const Target& target, Value value) {
  if (!target.attribute.empty()) {
    const Value& object = at(target.address);
    if (!object.is(Kind::name_space)) {
      fail(kType, fmt::format("cannot assign attribute '{}' on '{}': it is no namespace",
                              target.attribute, target.name));
    }
    if (target.attribute.starts_with('_')) {
      fail(kUnsafe,
           fmt::format("a namespace cannot hold '{}': its name starts with '_'", target.attribute));
    }
    object.get<Namespace>().attributes.set(target.attribute, std::move(value));
    return;
  }
  if (!target.name.empty()) {
    activation_->slots[target.address.slot] = std::move(value);
    return;
  }
  Elements parts = to_vector(value, budget_);
  if (parts.size() != target.parts.size()) {
    fail(kType,
         fmt::format("cannot unpack {} values into {} names", parts.size(), target.parts.size()));
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    assign(target.parts[i], std::move(parts[i]));
  }
}

Value& Interpreter::at(LexicalAddress address) {
  Activation* activation = activation_;
  for (; address.up > 0; --address.up) {
    activation = activation->outside;
  }
  return activation->slots[address.slot];
}

}  // namespace sft::jinja
