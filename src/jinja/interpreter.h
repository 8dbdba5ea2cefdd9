// Walks a parsed template and writes its text. One Interpreter is one rendering in one thread; the
// Template it walks is shared. Used by ChatTemplate.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "jinja/ast.h"
#include "jinja/call.h"
#include "jinja/errors.h"
#include "jinja/value.h"
#include "text/span.h"

namespace sft::jinja {

// The variables of one call of a macro, or of the template itself. Macros defined in it see it
// through `outside`, so an activation with a macro lives until the rendering ends.
struct Activation {
  std::vector<Value> slots;
  Activation* outside = nullptr;
  bool captured = false;  // a macro was defined in it
  Held held;
};

struct MacroObject : Object {
  const Macro* node = nullptr;
  Activation* outside = nullptr;
};

// Finds the value of a variable that the template reads from outside; missing when there is none.
using FindVariable = Value (*)(void* context, std::string_view name);

class Interpreter {
 public:
  // The budget outlives the interpreter and all values it meets.
  Interpreter(const Template& tmpl, Budget& budget)
      : template_(tmpl), budget_(budget), out_(budget) {}
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  // Throws Error with the line of the statement it failed in.
  std::string run(FindVariable find, void* context);
  // The byte ranges of the generation blocks in the text `run` gave, in order.
  const std::vector<Span>& generation() const { return generation_; }

  Budget& budget() { return budget_; }
  // Calls a macro, method or function. M153 when `callee` is none.
  Value call(const Value& callee, Args& args);
  Value evaluate(const Expr& expr);  // and holds what the value takes
  void assign(const Target& target, Value value);
  // Registered with the rendering, because a namespace may come to hold itself.
  Value make_namespace(Dict attributes);

 private:
  Value compute(const Expr& expr);
  enum class Flow : uint8_t { normal, loop_break, loop_continue };

  Flow execute(const Block& block);
  Flow execute(const Statement& statement);
  Flow loop(const For& node);
  Flow condition(const If& node);
  Flow set_block(const BlockStatement& node);
  Flow filter_block(const BlockStatement& node);
  void generation(const BlockStatement& node);
  Flow with(const With& node);
  void call_block(const Macro& node);
  void enter(const ScopeEntry& entry);
  // Runs `body` with its text going to `text` instead of the output.
  Flow capture(const Block& body, const ScopeEntry& entry, std::string& text);
  void write(std::string_view text);
  void locate_captured_generation();
  Value apply_filters(const Expr& filter, Value input);

  Value& at(LexicalAddress address);
  Value load(const Name& name);
  Value call_macro(const MacroObject& macro, Args& args);
  void bind_macro(const Macro& node, Args& args, Activation& activation);
  Value make_macro(const Macro& node);
  Args arguments(const Arguments& arguments);
  Value evaluate_call(const Call& call);
  Value evaluate_filter(const FilterOrTest& filter);
  Value evaluate_native(const FilterOrTest& node, const Value& value);
  Value evaluate_dict(const Sequence& dict);
  Value evaluate_slice(const Slice& slice);
  Value evaluate_compare(const Compare& compare);
  Value evaluate_condition(const Condition& condition);
  std::vector<Value> evaluate_all(const ExprList& list);

  const Template& template_;
  Budget& budget_;
  BoundedText out_;  // the text of the innermost block that captures, else the result
  int captures_ = 0;
  size_t main_size_ = 0;  // of the result, while a block captures
  int line_ = 0;
  int macro_depth_ = 0;
  const Value* filter_input_ = nullptr;
  Activation* activation_ = nullptr;
  std::vector<std::unique_ptr<Activation>> activations_;
  std::vector<Value> namespaces_;
  std::vector<Span> generation_;
  // Generation blocks inside captured text: where jinja2 places them, and their text, to be
  // checked.
  std::vector<std::pair<size_t, std::string>> captured_generation_;
};

// What the `loop` object and macros answer; missing for a name they do not have.
Value loop_attribute(const Value& loop, std::string_view name);
int64_t loop_length(const Value& loop);
Value macro_attribute(const Value& macro, std::string_view name);
// repr() of functions, methods, macros, loops and generators.
std::string describe_object(const Value& value);

}  // namespace sft::jinja
