#include "data/read/python_json.h"

#include <fmt/format.h>

#include <array>
#include <limits>
#include <string>

#include "core/json_text.h"
#include "text/unicode.h"

namespace sft {

namespace {

struct Word {
  std::string_view text;
  double value;
};

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::array kWords = {Word{"NaN", std::numeric_limits<double>::quiet_NaN()},
                               Word{"-Infinity", -kInfinity}, Word{"Infinity", kInfinity}};
// What stands for such a word while the text is parsed; no JSON that is parsed without error has
// a bare control character in a string.
constexpr std::string_view kMark = "\\u0001number:";

// The text with each of the words, where it is a value, as a marked string; "" when there is none.
std::string with_marks(std::string_view text) {
  std::string out;
  bool any = false;
  for (size_t i = 0; i < text.size();) {
    if (text[i] == '"') {
      const size_t begin = i++;
      for (; i < text.size() && text[i] != '"'; ++i) {
        i += text[i] == '\\' ? 1 : 0;
      }
      i = std::min(i + 1, text.size());
      out += text.substr(begin, i - begin);
      continue;
    }
    size_t taken = 0;
    for (size_t w = 0; w < kWords.size() && taken == 0; ++w) {
      if (text.substr(i).starts_with(kWords[w].text)) {
        out += fmt::format("\"{}{}\"", kMark, w);
        taken = kWords[w].text.size();
        any = true;
      }
    }
    out += taken == 0 ? text.substr(i, 1) : "";
    i += std::max<size_t>(taken, 1);
  }
  return any ? out : "";
}

void replace_marks(Json& value) {
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    if (text.starts_with("\x01number:") && text.size() == 9) {
      value = kWords.at(static_cast<size_t>(text[8] - '0')).value;
    }
    return;
  }
  if (value.is_structured()) {
    for (Json& below : value) {
      replace_marks(below);
    }
  }
}

}  // namespace

Json parse_python_json(std::string_view text) {
  try {
    return parse_linear(text);
  } catch (const Json::parse_error&) {
    const std::string marked = with_marks(text);
    if (marked.empty()) {
      throw;
    }
    Json value = Json::parse(marked, nullptr, false);
    if (value.is_discarded()) {
      throw;
    }
    replace_marks(value);
    return value;
  }
}

std::string what_is_wrong(std::string_view text, const Json::parse_error& error) {
  if (const size_t bad = find_invalid_utf8(text); bad != std::string_view::npos) {
    return fmt::format(
        "this line is not valid UTF-8: its byte {} is 0x{:02x}, as in Latin-1 or Windows-1252",
        bad + 1, static_cast<unsigned char>(text[bad]));
  }
  return fmt::format("this line is not valid JSON (at its byte {})", error.byte);
}

}  // namespace sft
