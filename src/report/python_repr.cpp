#include "report/python_repr.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <cstdlib>

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

std::string python_repr(double value) {
  if (!std::isfinite(value)) {
    return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
  }
  if (value == 0.0) {
    return std::signbit(value) ? "-0.0" : "0.0";
  }
  char buffer[64];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, std::abs(value), std::chars_format::scientific)
          .ptr;
  const std::string shortest(buffer, end);  // d.ddde+XX
  const size_t e = shortest.find('e');
  std::string digits = shortest.substr(0, 1);
  if (e > 2) {
    digits += shortest.substr(2, e - 2);
  }
  const int exponent = std::atoi(shortest.c_str() + e + 1);
  const auto count = static_cast<int>(digits.size());
  std::string out = value < 0 ? "-" : "";
  if (exponent < -4 || exponent >= 16) {
    out += digits.substr(0, 1) + (count > 1 ? "." + digits.substr(1) : "");
    return out + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) {
    return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  }
  if (count <= exponent + 1) {
    return out + digits + std::string(static_cast<size_t>(exponent + 1 - count), '0') + ".0";
  }
  const auto point = static_cast<size_t>(exponent + 1);
  return out + digits.substr(0, point) + "." + digits.substr(point);
}

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

double python_round(double value, int digits) {
  if (!std::isfinite(value)) {
    return value;
  }
  // printf rounds the exact binary value, ties to even, as Python does.
  return std::strtod(fmt::format("{:.{}f}", value, digits).c_str(), nullptr);
}

}  // namespace sft
