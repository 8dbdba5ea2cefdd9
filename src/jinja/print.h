// How Python shows a value: str(), repr(), and transformers' tojson filter.
#pragma once

#include <string>
#include <string_view>

#include "jinja/value.h"

namespace sft::jinja {

// str(value) appended to `out` ("" for undefined).
void print(BoundedText& out, const Value& value);
std::string to_string(const Value& value, Budget& budget);
std::string repr(const Value& value, Budget& budget);
// repr for an error's sentence: the type's name in its place where it is long.
std::string brief(const Value& value);

struct JsonStyle {
  bool ensure_ascii = false;
  bool pretty = false;
  std::string indent;  // of one level, when pretty
  std::string item_separator = ", ", key_separator = ": ";
  bool sort_keys = false;
};

// json.dumps. M153 for what JSON has no form for (undefined, range, generator, ...).
std::string to_json(const Value& value, const JsonStyle& style, Budget& budget);

}  // namespace sft::jinja
