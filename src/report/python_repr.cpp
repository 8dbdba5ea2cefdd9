#include "report/python_repr.h"

#include <fmt/format.h>

#include "core/python_number.h"

#include "core/json.h"

namespace sft {
namespace {

std::string quoted(const std::string& text) {
  // Python prefers single quotes unless the text has those and no double ones.
  const bool single = text.find('\'') == std::string::npos || text.find('"') != std::string::npos;
  const char quote = single ? '\'' : '"';
  std::string out(1, quote);
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else {
      if (c == quote || c == '\\') {
        out += '\\';
      }
      out += c;
    }
  }
  return out + quote;
}

}  // namespace

std::string python_repr(const Json& value) {
  if (value.is_null()) {
    return "None";
  }
  if (value.is_boolean()) {
    return value.get<bool>() ? "True" : "False";
  }
  if (value.is_number_float()) {
    return python_repr(value.get<double>());
  }
  if (value.is_string()) {
    return quoted(value.get<std::string>());
  }
  if (!value.is_structured()) {
    return to_text(value);
  }
  std::string out;
  for (const auto& [key, item] : value.items()) {
    out += out.empty() ? "" : ", ";
    out += value.is_object() ? quoted(key) + ": " + python_repr(item) : python_repr(item);
  }
  return value.is_object() ? "{" + out + "}" : "[" + out + "]";
}

}  // namespace sft
