#include "report/charts/text.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <cmath>
#include <ctime>

#include "core/json.h"

namespace sft {

std::string html_text(std::string_view text) {
  // What is not UTF-8 is replaced where JSON is written: to_text knows how.
  const Json whole = Json::parse(to_text(Json(std::string(text))));
  std::string out;
  for (const char c : whole.get_ref<const std::string&>()) {
    const auto byte = static_cast<unsigned char>(c);
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        if ((byte < 32 && c != '\n' && c != '\t') || byte == 127) {
          out += "\xEF\xBF\xBD";
        } else {
          out += c;
        }
    }
  }
  return out;
}

std::string short_number(double value, int digits) {
  if (std::isnan(value)) {
    return "not a number";
  }
  if (std::isinf(value)) {
    return value > 0 ? "infinite" : "-infinite";
  }
  if (value == std::round(value) && std::abs(value) < 1e7) {
    return fmt::format("{:.0f}", value == 0 ? 0.0 : value);
  }
  if (std::abs(value) >= std::pow(10.0, digits) && std::abs(value) < 1e7) {
    return fmt::format("{:.0f}", value);  // more digits rather than a power
  }
  return fmt::format("{:.{}g}", value, digits);
}

std::string compact_number(double value) {
  struct Unit {
    double size;
    const char* name;
  };
  constexpr Unit kUnits[] = {{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}};
  if (std::abs(value) < 10000) {
    return short_number(value, 3);
  }
  for (const Unit& unit : kUnits) {
    if (std::abs(value) >= unit.size) {
      const double scaled = value / unit.size;
      return fmt::format("{:.{}f}{}", scaled, std::abs(scaled) < 100 ? 1 : 0, unit.name);
    }
  }
  return short_number(value, 3);
}

std::string coordinate(double value) {
  std::string text = fmt::format("{:.2f}", value);
  while (text.back() == '0') {
    text.pop_back();
  }
  if (text.back() == '.') {
    text.pop_back();
  }
  return text == "-0" ? "0" : text;
}

std::string clock_time(double unix_seconds) {
  return fmt::format("{:%H:%M:%S}", fmt::gmtime(static_cast<std::time_t>(unix_seconds)));
}

std::string date_and_time(double unix_seconds) {
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::gmtime(static_cast<std::time_t>(unix_seconds)));
}

}  // namespace sft
