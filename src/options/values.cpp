#include "options/values.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "core/error.h"
#include "core/file.h"
#include "core/json_text.h"
#include "core/numbers.h"
#include "core/strings.h"

namespace sft {
namespace {

bool is_none(std::string_view text) {
  const std::string lower = to_lower(text);
  return lower == "none" || lower == "null" || lower == "~";
}

Error problem(Code code, std::string message, const OptionSource& source) {
  Error error(code, std::move(message));
  if (!source.place.empty()) {
    error.at(source.place);
  }
  return error;
}

[[noreturn]] void wrong_type(const Option& option, std::string_view text, std::string_view wanted,
                             const OptionSource& source) {
  throw problem("C004",
                fmt::format("{} takes {}{}, not \"{}\"", source.spelling, wanted,
                            option.is_optional() ? " or none" : "", text),
                source);
}

// Words inside a JSON dict that stand for numbers and booleans become those, as in transformers.
void convert_words(Json& value) {
  if (value.is_string()) {
    const std::string text = value.get<std::string>();
    const std::string lower = to_lower(text);
    if (lower == "true" || lower == "false") {
      value = lower == "true";
    } else if (const auto whole = whole_number(text)) {
      value = *whole;
    } else if (const auto number = real_number(text)) {
      value = *number;
    }
  } else if (value.is_structured()) {
    for (Json& item : value) {
      convert_words(item);
    }
  }
}

Json parse_dict(const Option& option, std::string_view text, const OptionSource& source) {
  if (is_none(text)) {
    return Json();
  }
  if (option.keeps_text) {
    return Json(text);
  }
  const std::string_view trimmed = trim(text);
  if (trimmed.starts_with('{') || trimmed.starts_with('[')) {
    Json value = json_of(trimmed);
    if (value.is_discarded()) {
      throw problem("C007", fmt::format("{} is not valid JSON: {}", source.spelling, text), source)
          .hint(fmt::format("quote it for the shell:  --{} '{{\"key\": 1}}'", option.name));
    }
    convert_words(value);
    return value;
  }
  if (option.status == OptionStatus::planned) {
    return Json(text);  // refused later, whatever the file says
  }
  if (!is_file(text)) {
    throw problem("C008",
                  fmt::format("{}: \"{}\" is neither JSON (it begins with {{) nor a file",
                              source.spelling, text),
                  source);
  }
  return read_json(text);
}

// "at least 1", "below 1".
std::string bound(const Option& option, bool upper) {
  return upper
             ? fmt::format("{} {}", option.maximum_excluded ? "below" : "at most", *option.maximum)
             : fmt::format("{} {}", option.minimum_excluded ? "above" : "at least",
                           *option.minimum);
}

// The bound that the number passes, or "".
std::string passed_bound(const Option& option, double number) {
  if (option.minimum &&
      (option.minimum_excluded ? number <= *option.minimum : number < *option.minimum)) {
    return bound(option, false);
  }
  if (option.maximum &&
      (option.maximum_excluded ? number >= *option.maximum : number > *option.maximum)) {
    return bound(option, true);
  }
  return "";
}

void check_choices(const Option& option, const OptionSource& source) {
  const Json value = option.value();
  if (option.choices.empty() || value.is_null()) {
    return;
  }
  for (const Json& item : value.is_array() ? value : Json::array({value})) {
    const std::string text = option_text(item);
    if (std::ranges::find(option.choices, text) != option.choices.end()) {
      continue;
    }
    std::string taken = fmt::format("{}", fmt::join(option.choices, ", "));
    if (option.maximum) {
      const auto number = whole_number(text);
      if (number && passed_bound(option, static_cast<double>(*number)).empty()) {
        continue;
      }
      taken += fmt::format(" or a whole number from {} to {}", *option.minimum, *option.maximum);
    }
    Error error = problem(
        "C006", fmt::format("{} has no choice \"{}\" (it takes {})", source.spelling, text, taken),
        source);
    const std::string near = nearest(to_lower(text), option.choices);
    throw near.empty() ? error : error.hint(fmt::format("did you mean  {}?", near));
  }
}

[[noreturn]] void out_of_range(std::string_view text, const std::string& wanted,
                               const OptionSource& source) {
  throw problem("C005", fmt::format("{} is {}, it must be {}", source.spelling, text, wanted),
                source);
}

void check_range(const Option& option, const OptionSource& source) {
  const Json value = option.value();
  if (!value.is_number()) {
    return;
  }
  const std::string passed = passed_bound(option, value.get<double>());
  if (!passed.empty()) {
    out_of_range(option_text(value), passed, source);
  }
}

void check_kind(const Option& option, const OptionSource& source) {
  const Json value = option.value();
  if (!option.reader || value.is_null()) {
    return;
  }
  try {
    option.reader(option_text(value));
  } catch (Error& error) {
    error.context(source.spelling);
    throw source.place.empty() ? error : error.at(source.place);
  }
}

void check(const Option& option, const OptionSource& source) {
  check_choices(option, source);
  check_range(option, source);
  check_kind(option, source);
}

// One setter per kind of value.
struct TextSetter {
  const Option& option;
  std::string_view text;
  const OptionSource& source;

  void operator()(bool* v) const {
    const auto parsed = parse_bool(text);
    if (!parsed) {
      wrong_type(option, text, "true or false", source);
    }
    *v = *parsed;
  }
  void operator()(int64_t* v) const {
    const auto parsed = whole_number(text);
    if (!parsed) {
      refuse_beyond(true);
      wrong_type(option, text, "a whole number", source);
    }
    *v = *parsed;
  }
  void operator()(double* v) const {
    const auto parsed = real_number(text);
    if (!parsed) {
      refuse_beyond(false);
      wrong_type(option, text, "a number", source);
    }
    *v = *parsed;
  }
  void operator()(std::string* v) const { *v = word(); }
  void operator()(std::optional<std::string>* v) const {
    if (is_none(text)) {
      v->reset();
    } else {
      *v = word();
    }
  }
  template <class T>
  void operator()(std::optional<T>* v) const {
    if (is_none(text)) {
      v->reset();
      return;
    }
    T value{};
    (*this)(&value);
    *v = value;
  }
  void operator()(std::vector<std::string>* v) const {
    const std::string_view trimmed = trim(text);
    if (trimmed.starts_with('[')) {
      const Json parsed = parse_dict(option, text, source);
      v->clear();
      for (const Json& item : parsed) {
        v->push_back(item.is_string() ? item.get<std::string>() : option_text(item));
      }
    } else if (is_none(text) && option.default_value.is_null()) {
      v->clear();
    } else {
      *v = {std::string(text)};
    }
  }
  void operator()(Json* v) const { *v = parse_dict(option, text, source); }

  // 2^64 is a whole number, and out of every range.
  void refuse_beyond(bool whole) const {
    if (is_beyond_numbers(text, whole)) {
      out_of_range(text, bound(option, !text.starts_with('-')), source);
    }
  }

  // A choice between words of which some are true and false takes the other spellings of those.
  std::string word() const {
    const auto has = [&](const char* choice) {
      return std::ranges::find(option.choices, choice) != option.choices.end();
    };
    if (has("true") && has("false") && !has(std::string(text).c_str())) {
      if (const auto parsed = parse_bool(text)) {
        return *parsed ? "true" : "false";
      }
    }
    return std::string(text);
  }
};

}  // namespace

std::optional<bool> parse_bool(std::string_view text) {
  const std::string lower = to_lower(text);
  for (const char* word : {"true", "yes", "t", "y", "on", "1"}) {
    if (lower == word) {
      return true;
    }
  }
  for (const char* word : {"false", "no", "f", "n", "off", "0"}) {
    if (lower == word) {
      return false;
    }
  }
  return std::nullopt;
}

void set_option(const Option& option, std::string_view text, const OptionSource& source) {
  std::visit(TextSetter{option, text, source}, option.target);
  check(option, source);
}

void set_option_list(const Option& option, const std::vector<std::string>& list,
                     const OptionSource& source) {
  if (list.size() == 1) {
    set_option(option, list[0], source);
    return;
  }
  const auto* target = std::get_if<std::vector<std::string>*>(&option.target);
  if (target == nullptr) {
    throw problem("C004", fmt::format("{} takes one value, not a list", source.spelling), source);
  }
  **target = list;
  check(option, source);
}

void set_option_json(const Option& option, Json value, const OptionSource& source) {
  const auto* target = std::get_if<Json*>(&option.target);
  if (target == nullptr) {
    throw problem("C004",
                  fmt::format("{} takes one value, not a {}", source.spelling,
                              value.is_array() ? "list" : "mapping"),
                  source);
  }
  **target = std::move(value);
  check(option, source);
}

std::string option_text(const Json& value) {
  if (value.is_null()) {
    return "none";
  }
  if (value.is_string()) {
    return value.get<std::string>();
  }
  if (value.is_number_float()) {
    return fmt::format("{}", value.get<double>());
  }
  return to_text(value);
}

Json yaml_scalar(const std::string& text) {
  const std::string lower = to_lower(text);
  if (text.empty() || is_none(text)) {
    return Json();
  }
  if (lower == "true" || lower == "yes" || lower == "on") {
    return true;
  }
  if (lower == "false" || lower == "no" || lower == "off") {
    return false;
  }
  if (const auto whole = whole_number(text)) {
    return *whole;
  }
  if (const auto number = real_number(text)) {
    return *number;
  }
  return text;
}

}  // namespace sft
