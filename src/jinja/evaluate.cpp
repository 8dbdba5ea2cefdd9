// The interpreter's expressions and calls.
#include <fmt/format.h>

#include <algorithm>

#include "jinja/interpreter.h"
#include "jinja/loop.h"
#include "jinja/ops.h"
#include "jinja/print.h"

namespace sft::jinja {

Value Interpreter::load(const Name& name) {
  const Value& value = at(name.address);
  return value.is(Kind::missing) ? Value::undefined_name(name.name) : value;
}

Value Interpreter::evaluate(const Expr& expr) {
  switch (expr.kind) {
    case ExprKind::constant:
      return static_cast<const Constant&>(expr).value;
    case ExprKind::name:
      return load(static_cast<const Name&>(expr));
    default:
      break;
  }
  Value value = compute(expr);
  adopt(budget_, value);
  return value;
}

Value Interpreter::compute(const Expr& expr) {
  const Depth depth(budget_);
  switch (expr.kind) {
    case ExprKind::list:
      return Value::list(evaluate_all(static_cast<const Sequence&>(expr).items));
    case ExprKind::tuple:
      return Value::tuple(evaluate_all(static_cast<const Sequence&>(expr).items));
    case ExprKind::dict:
      return evaluate_dict(static_cast<const Sequence&>(expr));
    case ExprKind::attribute: {
      const auto& node = static_cast<const Attribute&>(expr);
      if (node.object->kind == ExprKind::name) {  // the usual case, where it stands
        const Value& object = at(static_cast<const Name&>(*node.object).address);
        if (!object.is(Kind::missing)) {
          return get_attribute(object, node.name.value, budget_);
        }
      }
      return get_attribute(evaluate(*node.object), node.name.value, budget_);
    }
    case ExprKind::item: {
      const auto& node = static_cast<const Item&>(expr);
      const Value object = evaluate(*node.object);
      return get_item(object, evaluate(*node.key), budget_);
    }
    case ExprKind::slice:
      return evaluate_slice(static_cast<const Slice&>(expr));
    case ExprKind::call:
      return evaluate_call(static_cast<const Call&>(expr));
    case ExprKind::filter:
    case ExprKind::test:
      return evaluate_filter(static_cast<const FilterOrTest&>(expr));
    case ExprKind::binary: {
      const auto& node = static_cast<const Binary&>(expr);
      Value left = evaluate(*node.left);
      const Value right = evaluate(*node.right);
      if (node.op == BinaryOp::add && extend(left, right, budget_)) {
        return left;
      }
      return binary(node.op, left, right, budget_);
    }
    case ExprKind::concat: {
      budget_.step(kObject);
      BoundedText text(budget_);
      for (const Value& part : evaluate_all(static_cast<const Sequence&>(expr).items)) {
        print(text, part);
      }
      return Value::string(text.take());
    }
    case ExprKind::compare:
      return evaluate_compare(static_cast<const Compare&>(expr));
    case ExprKind::logic_and:
    case ExprKind::logic_or: {
      const auto& node = static_cast<const Binary&>(expr);
      Value left = evaluate(*node.left);
      return truth(left) == (expr.kind == ExprKind::logic_or) ? left : evaluate(*node.right);
    }
    case ExprKind::logic_not:
      return Value::boolean(!truth(evaluate(*static_cast<const Unary&>(expr).value)));
    case ExprKind::negative:
      return negate(evaluate(*static_cast<const Unary&>(expr).value));
    case ExprKind::positive:
      return plus(evaluate(*static_cast<const Unary&>(expr).value));
    default:
      return evaluate_condition(static_cast<const Condition&>(expr));
  }
}

std::vector<Value> Interpreter::evaluate_all(const ExprList& list) {
  std::vector<Value> values;
  values.reserve(list.size());
  for (const auto& item : list) {
    values.push_back(evaluate(*item));
  }
  return values;
}

Value Interpreter::evaluate_dict(const Sequence& node) {
  auto dict = std::make_unique<Dict>();
  for (size_t i = 0; i + 1 < node.items.size(); i += 2) {
    const Value key = evaluate(*node.items[i]);
    dict->set(key, evaluate(*node.items[i + 1]), budget_);
  }
  return dict.release()->finish();
}

Value Interpreter::evaluate_slice(const Slice& node) {
  const auto part = [&](const ExprPtr& expr) {
    return expr == nullptr ? Value::none() : evaluate(*expr);
  };
  const Value object = evaluate(*node.object);
  const Value start = part(node.start), stop = part(node.stop);
  return get_slice(object, start, stop, part(node.step), budget_);
}

Value Interpreter::evaluate_compare(const Compare& node) {
  Value left = evaluate(*node.first);
  for (const auto& [op, expr] : node.rest) {
    Value right = evaluate(*expr);
    if (!compare(op, left, right, budget_)) {
      return Value::boolean(false);
    }
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Interpreter::evaluate_condition(const Condition& node) {
  if (truth(evaluate(*node.test))) {
    return evaluate(*node.yes);
  }
  if (node.no != nullptr) {
    return evaluate(*node.no);
  }
  return Value::undefined(
      fmt::format("the inline if-expression on line {} evaluated to false and no else section was "
                  "defined.",
                  node.line));
}

Args Interpreter::arguments(const Arguments& node) {
  Args args;
  args.positional = evaluate_all(node.positional);
  args.named.reserve(node.named.size() + 1);
  for (const auto& [name, value] : node.named) {
    args.named.emplace_back(name, evaluate(*value));
  }
  if (node.star != nullptr) {
    Elements values = to_vector(evaluate(*node.star), budget_);
    args.held.more(budget_, 2 * static_cast<int64_t>(values.size() * sizeof(Value)));
    for (Value& value : values) {
      args.positional.push_back(std::move(value));
    }
  }
  if (node.star_star != nullptr) {
    args.keep = evaluate(*node.star_star);
    if (!args.keep.is(Kind::dict)) {
      fail(kType,
           fmt::format("the argument after ** must be a mapping, not {}", type_name(args.keep)));
    }
    const auto count = static_cast<int64_t>(args.keep.dict().items.size());
    budget_.step(count);
    args.held.more(budget_, 2 * count * static_cast<int64_t>(sizeof(args.named[0])));
    for (const auto& [key, value] : args.keep.dict().items) {
      args.named.emplace_back(to_text(key, "a keyword"), value);
    }
  }
  return args;
}

Value Interpreter::evaluate_call(const Call& node) {
  budget_.step(kStatement);
  if (node.callee->kind == ExprKind::attribute) {  // the usual method call, without its object
    const auto& attribute = static_cast<const Attribute&>(*node.callee);
    const Value self = evaluate(*attribute.object);
    if (self.is(Kind::string) || self.is(Kind::dict) || self.is(Kind::list)) {
      const NativeEntry* method = find_method(self, attribute.name.value.text());
      if (method != nullptr && method->call != nullptr) {
        Args args = arguments(node.arguments);
        return method->call(*this, self, args);
      }
    }
    const Value callee = get_attribute(self, attribute.name.value, budget_);
    Args args = arguments(node.arguments);
    return call(callee, args);
  }
  const Value callee = evaluate(*node.callee);
  Args args = arguments(node.arguments);
  return call(callee, args);
}

Value Interpreter::call(const Value& callee, Args& args) {
  switch (callee.kind()) {
    case Kind::function:
      return callee.get<Function>().entry->call(*this, Value(), args);
    case Kind::method:
      return callee.get<Method>().entry->call(*this, callee.get<Method>().self, args);
    case Kind::macro:
      return call_macro(callee.get<MacroObject>(), args);
    case Kind::joiner: {
      args.bind("joiner", {});
      auto& joiner = callee.get<Joiner>();
      return std::exchange(joiner.used, true) ? joiner.separator : Value::string("");
    }
    case Kind::undefined:
      fail_undefined(callee);
    default:
      fail(kType, fmt::format("'{}' object is not callable", type_name(callee)));
  }
}

Value Interpreter::evaluate_filter(const FilterOrTest& node) {
  if (node.value == nullptr) {
    return evaluate_native(node, *filter_input_);
  }
  return evaluate_native(node, evaluate(*node.value));
}

Value Interpreter::evaluate_native(const FilterOrTest& node, const Value& value) {
  if (node.entry == nullptr) {
    fail(kUnknown, fmt::format("the chat template uses a {} named '{}', which there is not",
                               node.kind == ExprKind::filter ? "filter" : "test", node.name));
  }
  budget_.step(kStatement);
  Args args = arguments(node.arguments);
  return node.entry->call(*this, value, args);
}

Value Interpreter::make_macro(const Macro& node) {
  auto macro = std::make_unique<MacroObject>();
  macro->node = &node;
  macro->outside = activation_;
  activation_->captured = true;
  return Value::object(Kind::macro, macro.release());
}

Value Interpreter::call_macro(const MacroObject& macro, Args& args) {
  const Macro& node = *macro.node;
  const Depth depth(budget_);
  if (++macro_depth_ > kMaxDepth) {
    fail(kLimit,
         fmt::format("macro '{}' calls itself more than {} levels deep", node.name, kMaxDepth));
  }
  const int line = line_;
  auto owned = std::make_unique<Activation>();
  owned->outside = macro.outside;
  owned->held =
      Held(budget_, static_cast<int64_t>(sizeof(Activation) + node.slots * sizeof(Value)));
  owned->slots.resize(node.slots);
  Activation* caller = std::exchange(activation_, owned.get());
  bind_macro(node, args, *owned);
  std::string text;
  capture(node.body, ScopeEntry(), text);
  activation_ = caller;
  line_ = line;
  --macro_depth_;
  if (owned->captured) {
    activations_.push_back(std::move(owned));
  }
  return Value::string(std::move(text));
}

void Interpreter::bind_macro(const Macro& node, Args& args, Activation& activation) {
  enter(node.entry);
  const size_t count = node.parameters.size();
  const size_t given = std::min(count, args.positional.size());
  const auto take = [&](std::string_view name) {
    const auto found = std::find_if(args.named.begin(), args.named.end(),
                                    [&](const auto& entry) { return entry.first == name; });
    if (found == args.named.end()) {
      return Value();
    }
    Value value = std::move(found->second);
    args.named.erase(found);
    return value;
  };
  bool found_caller = given == count && node.explicit_caller;
  for (size_t i = 0; i < count; ++i) {
    if (i < given) {
      activation.slots[i] = args.positional[i];
      continue;
    }
    activation.slots[i] = take(node.parameters[i]);
    found_caller = found_caller || node.parameters[i] == "caller";
  }
  if (node.caller_slot >= 0 && !found_caller) {
    Value caller = take("caller");
    activation.slots[static_cast<size_t>(node.caller_slot)] =
        caller.is(Kind::missing) ? Value::undefined("No caller defined") : std::move(caller);
  }
  if (node.kwargs_slot >= 0) {
    auto rest = std::make_unique<Dict>();
    for (auto& [name, value] : args.named) {
      rest->set(Value::string(std::string(name)), std::move(value), budget_);
    }
    activation.slots[static_cast<size_t>(node.kwargs_slot)] = rest.release()->finish();
  } else if (!args.named.empty()) {
    fail(kType,
         fmt::format("macro '{}' takes no keyword argument '{}'", node.name, args.named[0].first));
  }
  if (node.varargs_slot >= 0) {
    activation.slots[static_cast<size_t>(node.varargs_slot)] = Value::tuple(
        {args.positional.begin() + static_cast<std::ptrdiff_t>(given), args.positional.end()});
  } else if (args.positional.size() > count) {
    fail(kType, fmt::format("macro '{}' takes not more than {} argument(s)", node.name, count));
  }
  const size_t first_default = count - node.defaults.size();
  for (size_t i = given; i < count; ++i) {
    if (!activation.slots[i].is(Kind::missing)) {
      continue;
    }
    activation.slots[i] =
        i >= first_default
            ? evaluate(*node.defaults[i - first_default])
            : Value::undefined(fmt::format("parameter '{}' was not provided", node.parameters[i]));
  }
}

Value macro_attribute(const Value& macro, std::string_view name) {
  if (name == "name") {
    return Value::borrowed(macro.get<MacroObject>().node->name);
  }
  return Value();
}

std::string describe_object(const Value& value) {
  switch (value.kind()) {
    case Kind::macro:
      return fmt::format("<Macro '{}'>", value.get<MacroObject>().node->name);
    case Kind::loop:
      return fmt::format("<LoopContext {}/{}>", value.get<LoopObject>().index0 + 1,
                         loop_length(value));
    case Kind::function:
      return fmt::format("<function {}>", value.get<Function>().entry->name);
    case Kind::method:
      return fmt::format("<built-in method {} of {} object>", value.get<Method>().entry->name,
                         type_name(value.get<Method>().self));
    default:
      return fmt::format("<{} object>", type_name(value));
  }
}

Bound Args::bind(std::string_view function, std::initializer_list<std::string_view> names,
                 size_t required) const {
  Bound bound{};
  if (positional.size() > names.size()) {
    fail(kType, fmt::format("{} takes at most {} argument(s), {} given", function, names.size(),
                            positional.size()));
  }
  for (size_t i = 0; i < positional.size(); ++i) {
    bound[i] = &positional[i];
  }
  for (const auto& [name, value] : named) {
    const auto* found = std::find(names.begin(), names.end(), name);
    const auto index = static_cast<size_t>(found - names.begin());
    if (found == names.end() || bound[index] != nullptr) {
      fail(kType, fmt::format("{} got an unexpected argument '{}'", function, name));
    }
    bound[index] = &value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (bound[i] == nullptr) {
      fail(kType, fmt::format("{} needs the argument '{}'", function, *(names.begin() + i)));
    }
  }
  return bound;
}

Value make_method(const Value& self, const NativeEntry* entry) {
  auto method = std::make_unique<Method>();
  if (self.is_object()) {
    method->depth = self.object()->depth;
  }
  method->self = self;
  method->entry = entry;
  return Value::object(Kind::method, method.release());
}

}  // namespace sft::jinja
