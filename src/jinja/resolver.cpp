// Gives every name in a template its address, so that rendering never looks a name up by its text.
//
// Scopes are lexical: the body of a for, with, filter, generation or set block and of a macro is
// one; an if is none. A name assigned in a scope is a variable of that scope, which starts with the
// value the name has outside; what no scope assigns is a variable given from outside.
#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "jinja/errors.h"
#include "jinja/lexer.h"
#include "jinja/parser.h"

namespace sft::jinja {

namespace {

struct Frame {
  uint16_t slots = 0;
  Macro* macro = nullptr;  // null: the template itself
};

struct Scope {
  Scope* parent = nullptr;
  Frame* frame = nullptr;
  For* loop = nullptr;  // of a loop's body: who wants to know that `loop` is used
  bool frame_outermost = false;
  std::map<std::string, uint16_t, std::less<>> names;
};

class Resolver {
 public:
  explicit Resolver(Template& tmpl) : template_(tmpl) {}

  void run() {
    Frame frame;
    Scope root{nullptr, &frame, nullptr, true, {}};
    ScopeEntry ignored;
    root_ = &root;
    enter(root, template_.body, ignored);
    visit(template_.body, root);
    template_.slots = frame.slots;
    std::erase_if(template_.variables,
                  [&](const auto& variable) { return assigned_first_.contains(variable.first); });
  }

 private:
  uint16_t declare(Scope& scope, const std::string& name) {
    const auto found = scope.names.find(name);
    if (found != scope.names.end()) {
      return found->second;
    }
    if (scope.frame->slots == std::numeric_limits<uint16_t>::max()) {
      fail_syntax(template_.name, 1, "too many variables");
    }
    const uint16_t slot = scope.frame->slots++;
    scope.names.emplace(name, slot);
    if (scope.parent == nullptr) {
      template_.variables.emplace_back(name, slot);
    }
    return slot;
  }

  // The slot of a name a macro may use without declaring it (caller, varargs, kwargs), or -1.
  static int* special_slot(Scope& scope, const std::string& name) {
    Macro* macro = scope.frame->macro;
    if (macro == nullptr || !scope.frame_outermost) {
      return nullptr;
    }
    return name == "caller"    ? &macro->caller_slot
           : name == "varargs" ? &macro->varargs_slot
           : name == "kwargs"  ? &macro->kwargs_slot
                               : nullptr;
  }

  LexicalAddress find(Scope& from, const std::string& name) {
    LexicalAddress address;
    for (Scope* scope = &from;; scope = scope->parent) {
      const auto found = scope->names.find(name);
      if (found != scope->names.end()) {
        if (scope->loop != nullptr && name == "loop") {
          scope->loop->uses_loop = true;
        }
        address.slot = found->second;
        return address;
      }
      if (int* special = special_slot(*scope, name)) {
        address.slot = declare(*scope, name);
        *special = address.slot;
        return address;
      }
      if (scope->parent == nullptr) {
        address.slot = declare(*scope, name);
        return address;
      }
      address.up = static_cast<uint16_t>(address.up + (scope->frame_outermost ? 1 : 0));
    }
  }

  // As in Jinja: a name whose first appearance in the template's outermost scope assigns it, and
  // not only in a branch of an if, is never given from outside, even where an inner scope reads it
  // sooner.
  void note_assignment(const Scope& scope, const std::string& name) {
    if (&scope == root_ && used_.insert(name).second) {
      assigned_first_.insert(name);
    }
  }

  void note_use(const Scope& scope, const std::string& name) {
    if (&scope == root_) {
      used_.insert(name);
    }
  }

  void visit(If& node, Scope& scope) {
    const std::set<std::string> assigned_before = assigned_first_;
    std::set<std::string> used_before, used_after;
    const auto end_branch = [&] {
      used_after.insert(used_.begin(), used_.end());
      used_ = used_before;
    };
    for (auto& [test, body] : node.branches) {
      visit(test, scope);
      used_before = used_;
      visit(body, scope);
      end_branch();
    }
    visit(node.otherwise, scope);
    end_branch();
    used_ = std::move(used_after);
    assigned_first_ = assigned_before;
  }

  void declare_target(const Target& target, Scope& scope) {
    if (!target.name.empty()) {
      if (target.attribute.empty()) {
        declare(scope, target.name);
      }
      return;
    }
    for (const Target& part : target.parts) {
      declare_target(part, scope);
    }
  }

  void resolve_target(Target& target, Scope& scope) {
    if (!target.name.empty()) {
      if (target.attribute.empty()) {
        note_assignment(scope, target.name);
      } else {
        note_use(scope, target.name);
      }
      target.address = find(scope, target.name);
      return;
    }
    for (Target& part : target.parts) {
      resolve_target(part, scope);
    }
  }

  static void collect(const Target& target, std::vector<std::string>& names) {
    if (!target.name.empty() && target.attribute.empty()) {
      names.push_back(target.name);
    }
    for (const Target& part : target.parts) {
      collect(part, names);
    }
  }

  // The names a block assigns itself, not in scopes within it.
  static void collect(const Block& block, std::vector<std::string>& names) {
    for (const auto& statement : block) {
      switch (statement->kind) {
        case StatementKind::set:
          collect(static_cast<const Set&>(*statement).target, names);
          break;
        case StatementKind::set_block:
          collect(static_cast<const BlockStatement&>(*statement).target, names);
          break;
        case StatementKind::macro:
          names.push_back(static_cast<const Macro&>(*statement).name);
          break;
        case StatementKind::condition: {
          const auto& node = static_cast<const If&>(*statement);
          for (const auto& branch : node.branches) {
            collect(branch.second, names);
          }
          collect(node.otherwise, names);
          break;
        }
        default:
          break;
      }
    }
  }

  void enter(Scope& scope, const Block& block, ScopeEntry& entry) {
    std::vector<std::string> names;
    collect(block, names);
    for (const std::string& name : names) {
      if (scope.names.contains(name)) {
        continue;
      }
      if (scope.parent == nullptr) {
        declare(scope, name);
        continue;
      }
      LexicalAddress outside = find(*scope.parent, name);
      outside.up = static_cast<uint16_t>(outside.up + (scope.frame_outermost ? 1 : 0));
      entry.copies.emplace_back(declare(scope, name), outside);
    }
  }

  void visit_scope(Block& block, Scope& outside, ScopeEntry& entry) {
    Scope scope{&outside, outside.frame, nullptr, false, {}};
    enter(scope, block, entry);
    visit(block, scope);
  }

  void visit(Block& block, Scope& scope) {
    for (auto& statement : block) {
      visit(*statement, scope);
    }
  }

  void visit(Statement& statement, Scope& scope) {
    switch (statement.kind) {
      case StatementKind::text:
      case StatementKind::loop_break:
      case StatementKind::loop_continue:
        break;
      case StatementKind::print:
        visit(static_cast<Print&>(statement).value, scope);
        break;
      case StatementKind::condition:
        visit(static_cast<If&>(statement), scope);
        break;
      case StatementKind::loop:
        visit(static_cast<For&>(statement), scope);
        break;
      case StatementKind::set: {
        auto& node = static_cast<Set&>(statement);
        visit(node.value, scope);
        resolve_target(node.target, scope);
        break;
      }
      case StatementKind::set_block:
      case StatementKind::filter_block:
      case StatementKind::generation: {
        auto& node = static_cast<BlockStatement&>(statement);
        visit(node.filter, scope);
        visit_scope(node.body, scope, node.entry);
        resolve_target(node.target, scope);
        break;
      }
      case StatementKind::with:
        visit(static_cast<With&>(statement), scope);
        break;
      case StatementKind::macro:
        note_assignment(scope, static_cast<Macro&>(statement).name);
        static_cast<Macro&>(statement).address = find(scope, static_cast<Macro&>(statement).name);
        visit(static_cast<Macro&>(statement), scope);
        break;
      case StatementKind::call_block:
        visit(static_cast<Macro&>(statement).call, scope);
        visit(static_cast<Macro&>(statement), scope);
        break;
    }
  }

  void visit(For& node, Scope& outside) {
    visit(node.iterable, outside);
    if (node.test != nullptr) {
      Scope scope{&outside, outside.frame, nullptr, false, {}};
      declare_target(node.test_target, scope);
      resolve_target(node.test_target, scope);
      visit(node.test, scope);
    }
    Scope scope{&outside, outside.frame, &node, false, {}};
    declare_target(node.target, scope);
    node.loop_slot = declare(scope, "loop");
    enter(scope, node.body, node.body_entry);
    resolve_target(node.target, scope);
    node.uses_loop = false;
    visit(node.body, scope);
    visit_scope(node.otherwise, outside, node.otherwise_entry);
  }

  void visit(With& node, Scope& outside) {
    for (auto& [target, value] : node.values) {
      visit(value, outside);
    }
    Scope scope{&outside, outside.frame, nullptr, false, {}};
    for (auto& [target, value] : node.values) {
      declare_target(target, scope);
      resolve_target(target, scope);
    }
    enter(scope, node.body, node.entry);
    visit(node.body, scope);
  }

  void visit(Macro& node, Scope& outside) {
    Frame frame;
    frame.macro = &node;
    Scope scope{&outside, &frame, nullptr, true, {}};
    for (const std::string& parameter : node.parameters) {
      declare(scope, parameter);
      node.explicit_caller = node.explicit_caller || parameter == "caller";
    }
    enter(scope, node.body, node.entry);
    for (auto& value : node.defaults) {
      visit(value, scope);
    }
    visit(node.body, scope);
    node.slots = frame.slots;
  }

  void visit(ExprList& list, Scope& scope) {
    for (auto& item : list) {
      visit(item, scope);
    }
  }

  void visit(Arguments& arguments, Scope& scope) {
    visit(arguments.positional, scope);
    for (auto& [name, value] : arguments.named) {
      visit(value, scope);
    }
    visit(arguments.star, scope);
    visit(arguments.star_star, scope);
  }

  void visit(ExprPtr& expr, Scope& scope) {
    if (expr == nullptr) {
      return;
    }
    switch (expr->kind) {
      case ExprKind::constant:
        break;
      case ExprKind::name: {
        auto& name = static_cast<Name&>(*expr);
        note_use(scope, name.name);
        name.address = find(scope, name.name);
        break;
      }
      case ExprKind::list:
      case ExprKind::tuple:
      case ExprKind::dict:
      case ExprKind::concat:
        visit(static_cast<Sequence&>(*expr).items, scope);
        break;
      case ExprKind::attribute:
        visit(static_cast<Attribute&>(*expr).object, scope);
        break;
      case ExprKind::item:
        visit(static_cast<Item&>(*expr).object, scope);
        visit(static_cast<Item&>(*expr).key, scope);
        break;
      case ExprKind::slice: {
        auto& slice = static_cast<Slice&>(*expr);
        visit(slice.object, scope);
        visit(slice.start, scope);
        visit(slice.stop, scope);
        visit(slice.step, scope);
        break;
      }
      case ExprKind::call:
        visit(static_cast<Call&>(*expr).callee, scope);
        visit(static_cast<Call&>(*expr).arguments, scope);
        break;
      case ExprKind::filter:
      case ExprKind::test:
        visit(static_cast<FilterOrTest&>(*expr).value, scope);
        visit(static_cast<FilterOrTest&>(*expr).arguments, scope);
        break;
      case ExprKind::logic_not:
      case ExprKind::negative:
      case ExprKind::positive:
        visit(static_cast<Unary&>(*expr).value, scope);
        break;
      case ExprKind::binary:
      case ExprKind::logic_and:
      case ExprKind::logic_or:
        visit(static_cast<Binary&>(*expr).left, scope);
        visit(static_cast<Binary&>(*expr).right, scope);
        break;
      case ExprKind::compare:
        visit(static_cast<Compare&>(*expr).first, scope);
        for (auto& [op, value] : static_cast<Compare&>(*expr).rest) {
          visit(value, scope);
        }
        break;
      case ExprKind::condition:
        visit(static_cast<Condition&>(*expr).test, scope);
        visit(static_cast<Condition&>(*expr).yes, scope);
        visit(static_cast<Condition&>(*expr).no, scope);
        break;
    }
  }

  Template& template_;
  const Scope* root_ = nullptr;
  // Of the outermost scope, in the order of its text: names met so far, and those of them that were
  // assigned before anything read them.
  std::set<std::string> used_, assigned_first_;
};

}  // namespace

void resolve(Template& tmpl) { Resolver(tmpl).run(); }

}  // namespace sft::jinja
