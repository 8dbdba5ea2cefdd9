// The parsed template: plain data, made by the parser, completed by the resolver (which gives every
// name its address), walked by the interpreter. Never changed after that; shared by all threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jinja/ops.h"
#include "jinja/value.h"

namespace sft::jinja {

struct NativeEntry;

enum class ExprKind : uint8_t {
  constant,
  name,
  list,
  tuple,
  dict,
  attribute,
  item,
  slice,
  call,
  filter,
  test,
  binary,
  concat,
  compare,
  logic_and,
  logic_or,
  logic_not,
  negative,
  positive,
  condition,
};

struct Expr {
  Expr(ExprKind k, int at) : kind(k), line(at) {}
  virtual ~Expr() = default;
  ExprKind kind;
  int line;
};
using ExprPtr = std::unique_ptr<Expr>;
using ExprList = std::vector<ExprPtr>;

// A variable's lexical address: `up` activations outward (macros nest), then a slot.
struct LexicalAddress {
  uint16_t up = 0;
  uint16_t slot = 0;
};

struct Constant : Expr {
  Constant(int at, Value v) : Expr(ExprKind::constant, at), value(std::move(v)) {}
  Constant(int at, std::string text);
  String string;  // what `value` refers to when it is a text: never counted, so threads share it
  Value value;
};

struct Name : Expr {
  Name(int at, std::string n) : Expr(ExprKind::name, at), name(std::move(n)) {}
  std::string name;
  LexicalAddress address;
};

struct Sequence : Expr {  // list, tuple, concat, and dict as key, value, key, value
  Sequence(ExprKind k, int at, ExprList e) : Expr(k, at), items(std::move(e)) {}
  ExprList items;
};

struct Attribute : Expr {
  Attribute(int at, ExprPtr o, std::string n)
      : Expr(ExprKind::attribute, at), object(std::move(o)), name(at, std::move(n)) {}
  ExprPtr object;
  Constant name;
};

struct Item : Expr {
  Item(int at, ExprPtr o, ExprPtr k)
      : Expr(ExprKind::item, at), object(std::move(o)), key(std::move(k)) {}
  ExprPtr object, key;
};

struct Slice : Expr {
  Slice(int at, ExprPtr o) : Expr(ExprKind::slice, at), object(std::move(o)) {}
  ExprPtr object, start, stop, step;  // null where left out
};

struct Arguments {
  ExprList positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr star, star_star;
};

struct Call : Expr {
  Call(int at, ExprPtr c, Arguments a)
      : Expr(ExprKind::call, at), callee(std::move(c)), arguments(std::move(a)) {}
  ExprPtr callee;
  Arguments arguments;
};

struct FilterOrTest : Expr {
  FilterOrTest(ExprKind k, int at, ExprPtr v, std::string n, Arguments a)
      : Expr(k, at), value(std::move(v)), name(std::move(n)), arguments(std::move(a)) {}
  ExprPtr value;  // null: the text of a filter block or block set
  std::string name;
  Arguments arguments;
  const NativeEntry* entry = nullptr;  // null: there is none of that name, M161 when reached
};

struct Unary : Expr {
  Unary(ExprKind k, int at, ExprPtr v) : Expr(k, at), value(std::move(v)) {}
  ExprPtr value;
};

struct Binary : Expr {  // arithmetic with `op`; logic_and and logic_or without
  Binary(ExprKind k, int at, ExprPtr l, ExprPtr r, BinaryOp o = BinaryOp::add)
      : Expr(k, at), left(std::move(l)), right(std::move(r)), op(o) {}
  ExprPtr left, right;
  BinaryOp op;
};

struct Compare : Expr {
  Compare(int at, ExprPtr f) : Expr(ExprKind::compare, at), first(std::move(f)) {}
  ExprPtr first;
  std::vector<std::pair<CompareOp, ExprPtr>> rest;
};

struct Condition : Expr {
  Condition(int at, ExprPtr t, ExprPtr y, ExprPtr n)
      : Expr(ExprKind::condition, at), test(std::move(t)), yes(std::move(y)), no(std::move(n)) {}
  ExprPtr test, yes, no;  // `no` may be null
};

// What an assignment assigns to: a name, an attribute of a namespace, or a tuple of targets.
struct Target {
  std::string name;  // "" for a tuple
  std::string attribute;
  int line = 0;
  LexicalAddress address;
  std::vector<Target> parts;
};

enum class StatementKind : uint8_t {
  text,
  print,
  condition,
  loop,
  set,
  set_block,
  with,
  macro,
  call_block,
  filter_block,
  generation,
  loop_break,
  loop_continue,
};

struct Statement {
  Statement(StatementKind k, int at) : kind(k), line(at) {}
  virtual ~Statement() = default;
  StatementKind kind;
  int line;
};
using Block = std::vector<std::unique_ptr<Statement>>;

// A scope's variables take the value that the name has outside when the scope is entered.
struct ScopeEntry {
  std::vector<std::pair<uint16_t, LexicalAddress>> copies;  // slot here, address outside
};

struct Text : Statement {
  Text(int at, std::string t) : Statement(StatementKind::text, at), text(std::move(t)) {}
  std::string text;
};

struct Print : Statement {
  Print(int at, ExprPtr e) : Statement(StatementKind::print, at), value(std::move(e)) {}
  ExprPtr value;
};

struct If : Statement {
  explicit If(int at) : Statement(StatementKind::condition, at) {}
  std::vector<std::pair<ExprPtr, Block>> branches;
  Block otherwise;
};

struct For : Statement {
  explicit For(int at) : Statement(StatementKind::loop, at) {}
  Target target, test_target;
  ExprPtr iterable, test;
  Block body, otherwise;
  bool uses_loop = false;
  uint16_t loop_slot = 0;
  ScopeEntry body_entry, otherwise_entry;
};

struct Set : Statement {
  explicit Set(int at) : Statement(StatementKind::set, at) {}
  Target target;
  ExprPtr value;
};

struct BlockStatement : Statement {  // set_block, filter_block, generation
  BlockStatement(StatementKind k, int at) : Statement(k, at) {}
  Target target;   // of set_block
  ExprPtr filter;  // of filter_block, and of set_block when given
  Block body;
  ScopeEntry entry;
};

struct With : Statement {
  explicit With(int at) : Statement(StatementKind::with, at) {}
  std::vector<std::pair<Target, ExprPtr>> values;
  Block body;
  ScopeEntry entry;
};

struct Macro : Statement {  // a macro, or the body of a call block
  Macro(StatementKind k, int at) : Statement(k, at) {}
  std::string name;
  LexicalAddress address;
  std::vector<std::string> parameters;  // slots 0, 1, ...
  ExprList defaults;                    // of the last parameters
  Block body;
  uint16_t slots = 0;
  // Slots of the names a macro body may use undeclared; -1 where it does not.
  int caller_slot = -1, varargs_slot = -1, kwargs_slot = -1;
  bool explicit_caller = false;
  ScopeEntry entry;
  ExprPtr call;  // of a call block
};

struct Template {
  std::string name;
  Block body;
  uint16_t slots = 0;
  // The variables the template reads from outside, with their slots.
  std::vector<std::pair<std::string, uint16_t>> variables;
  bool has_generation = false;
};

}  // namespace sft::jinja
