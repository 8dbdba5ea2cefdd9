// Walking an iterable in a for loop, one element at a time and no further than the template asks,
// and the `loop` object over it. Used by the interpreter.
#pragma once

#include <cstdint>
#include <vector>

#include "jinja/ast.h"
#include "jinja/interpreter.h"
#include "jinja/value.h"

namespace sft::jinja {

class Cursor {
 public:
  // M153 when `source` cannot be walked. Elements for which the loop's `if` fails are left out.
  Cursor(Interpreter& interpreter, Value source, const For& node);

  bool next(Value& element);
  bool peek(Value& element);
  // Length of the whole walk of which `taken` elements are done.
  int64_t length(int64_t taken);

 private:
  bool step(Value& element);      // the next element of the source
  bool filtered(Value& element);  // the next that passes the loop's `if`

  Interpreter& interpreter_;
  Value source_;
  const For& node_;
  size_t at_ = 0;   // an index, or a byte of a string
  Elements ahead_;  // looked at already, from `ahead_at_` on
  size_t ahead_at_ = 0;
};

struct LoopObject : Object {
  LoopObject(Interpreter& interpreter, Value source, const For& node)
      : cursor(interpreter, std::move(source), node) {}
  Cursor cursor;
  int64_t index0 = -1;
  int64_t length = -1;  // -1: not asked for yet
  Value before, current;
  std::vector<Value> changed;
  bool changed_called = false;
};

}  // namespace sft::jinja
