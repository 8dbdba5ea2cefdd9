// What filters, tests, methods and global functions are to the interpreter: named native functions
// over a receiver and arguments, held in tables of one line each.
#pragma once

#include <array>
#include <initializer_list>
#include <string_view>
#include <utility>
#include <vector>

#include "jinja/value.h"

namespace sft::jinja {

class Interpreter;

// The parameters of a native function in the order of its list of names; null where not given.
using Bound = std::array<const Value*, 6>;

struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> named;
  Held held;   // of what * and ** brought
  Value keep;  // owns names that came from a dict given as **dict

  // M153 for too many, unknown or doubly given arguments, or fewer than `required`.
  Bound bind(std::string_view function, std::initializer_list<std::string_view> names,
             size_t required = 0) const;
};

using Native = Value (*)(Interpreter& interpreter, const Value& self, Args& args);

struct NativeEntry {
  std::string_view name;
  Native call;  // null: Python has it, and the sandbox forbids it
};

struct Function : Object {
  const NativeEntry* entry = nullptr;
};

struct Method : Object {
  Value self;
  const NativeEntry* entry = nullptr;
};

const NativeEntry* find_filter(std::string_view name);  // null when there is none
const NativeEntry* find_test(std::string_view name);    // answers with a boolean
const NativeEntry* find_method(const Value& self, std::string_view name);
const NativeEntry* find_global(std::string_view name);

Value make_method(const Value& self, const NativeEntry* entry);

}  // namespace sft::jinja
