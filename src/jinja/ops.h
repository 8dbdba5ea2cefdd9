// Python's operators on template values: comparison, arithmetic, length, walking, subscription.
// Every operation Python refuses throws M153 (M152 where the operand is undefined).
#pragma once

#include <cstdint>
#include <string_view>

#include "jinja/errors.h"
#include "jinja/value.h"

namespace sft::jinja {

enum class BinaryOp : uint8_t { add, subtract, multiply, divide, floor_divide, modulo, power };
enum class CompareOp : uint8_t { eq, ne, lt, le, gt, ge, in, not_in };

// M152 or M156, with the reason it is undefined.
[[noreturn]] void fail_undefined(const Value& value);

// M153: `op` does not work on these two (M152 when one of them is undefined).
[[noreturn]] void fail_operands(std::string_view op, const Value& a, const Value& b);

bool truth(const Value& value);
bool equal(const Value& a, const Value& b, Budget& budget);
bool less(const Value& a, const Value& b, Budget& budget);
bool compare(CompareOp op, const Value& a, const Value& b, Budget& budget);
bool contains(const Value& container, const Value& item, Budget& budget);
// Adds `more` to a text that nobody else holds, so that a chain of sums copies no part twice; false
// where it is not one, and nothing is done.
bool extend(Value& text, const Value& more, Budget& budget);
Value binary(BinaryOp op, const Value& a, const Value& b, Budget& budget);
Value negate(const Value& value);
Value plus(const Value& value);

// len(): nothing when the value has none (M152/M153 from `require_length`).
bool has_length(const Value& value);
int64_t require_length(const Value& value, Budget& budget);
void require_hashable(const Value& value, Budget& budget);
bool is_iterable(const Value& value);
// What iterating gives, all at once; empties a generator.
Elements to_vector(const Value& value, Budget& budget);

// obj[key] as the sandbox has it: a missing key or a wrong type gives undefined or an attribute.
Value get_item(const Value& object, const Value& key, Budget& budget);
// obj.name: the attribute (a method) first, then obj["name"].
Value get_attribute(const Value& object, const Value& name, Budget& budget);
Value get_slice(const Value& object, const Value& start, const Value& stop, const Value& step,
                Budget& budget);
// The element at `index` of a string, list, tuple or range (negative from the end); missing when
// out of range.
Value element(const Value& sequence, int64_t index, Budget& budget);

// An argument that must be a whole number or a text; `what` names it in the error.
int64_t to_integer(const Value& value, std::string_view what);
std::string_view to_text(const Value& value, std::string_view what);

}  // namespace sft::jinja
