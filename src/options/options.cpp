#include "options/options.h"

#include <algorithm>

#include "core/numbers.h"

namespace sft {
namespace {

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <class... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

std::string snake(std::string_view name) {
  std::string out(name);
  std::ranges::replace(out, '-', '_');
  return out;
}

}  // namespace

Option& Option::alias(std::string old_name, std::string note) {
  aliases.push_back({std::move(old_name), std::move(note)});
  return *this;
}

Option& Option::also(std::string short_name) {
  aliases.push_back({std::move(short_name), "", false});
  return *this;
}

Option& Option::one_of(std::vector<std::string> values) {
  choices = std::move(values);
  return *this;
}

Option& Option::at_least(double value) {
  minimum = value;
  return *this;
}

Option& Option::above(double value) {
  minimum = value;
  minimum_excluded = true;
  return *this;
}

Option& Option::at_most(double value) {
  maximum = value;
  return *this;
}

Option& Option::below(double value) {
  maximum = value;
  maximum_excluded = true;
  return *this;
}

Option& Option::or_whole(double low, double high) {
  minimum = low;
  maximum = high;
  return *this;
}

Option& Option::read_by(std::function<void(const std::string&)> read) {
  reader = std::move(read);
  return *this;
}

Option& Option::built_only(std::vector<std::string> values, std::string sentence) {
  built_values = std::move(values);
  return planned(std::move(sentence));
}

Option& Option::planned(std::string sentence) {
  status = OptionStatus::planned;
  status_text = std::move(sentence);
  return *this;
}

Option& Option::inert(std::string reason) {
  status = OptionStatus::inert;
  status_text = std::move(reason);
  return *this;
}

Option& Option::bare(std::string value) {
  bare_value = std::move(value);
  return *this;
}

Option& Option::as_text() {
  keeps_text = true;
  return *this;
}

Option& Option::short_name(char letter) {
  short_flag = letter;
  return *this;
}

Option& Option::only_on_command_line() {
  command_line_only = true;
  return *this;
}

Option& Option::secret() {
  is_secret = true;
  return *this;
}

Json Option::value() const {
  return std::visit(
      Overloaded{
          [](const std::optional<bool>* v) { return or_null(*v); },
          [](const std::optional<int64_t>* v) { return or_null(*v); },
          [](const std::optional<double>* v) { return or_null(*v); },
          [](const std::optional<std::string>* v) { return or_null(*v); },
          [](const std::vector<std::string>* v) { return v->empty() ? Json() : Json(*v); },
          [](const auto* v) { return Json(*v); },
      },
      target);
}

bool Option::is_boolean() const {
  return std::holds_alternative<bool*>(target) ||
         std::holds_alternative<std::optional<bool>*>(target);
}

bool Option::is_list() const { return std::holds_alternative<std::vector<std::string>*>(target); }

bool Option::is_dict() const { return std::holds_alternative<Json*>(target); }

bool Option::is_counter() const {
  return short_flag != 0 && std::holds_alternative<int64_t*>(target);
}

bool Option::is_optional() const {
  return std::visit(Overloaded{
                        [](const bool*) { return false; },
                        [](const int64_t*) { return false; },
                        [](const double*) { return false; },
                        [](const std::string*) { return false; },
                        [](const auto*) { return true; },
                    },
                    target);
}

std::string Option::type_name() const {
  return std::visit(Overloaded{
                        [](const bool*) { return "bool"; },
                        [](const std::optional<bool>*) { return "bool?"; },
                        [](const int64_t*) { return "int"; },
                        [](const std::optional<int64_t>*) { return "int?"; },
                        [](const double*) { return "float"; },
                        [](const std::optional<double>*) { return "float?"; },
                        [](const std::string*) { return "str"; },
                        [](const std::optional<std::string>*) { return "str?"; },
                        [](const std::vector<std::string>*) { return "list?"; },
                        [](const Json*) { return "dict?"; },
                    },
                    target);
}

Option& OptionTable::operator()(std::string name, OptionTarget target, std::string help) {
  Option& option = options_.emplace_back();
  option.name = std::move(name);
  option.help = std::move(help);
  option.group = group_;
  option.target = target;
  option.default_value = option.value();
  const bool whole = std::holds_alternative<int64_t*>(target) ||
                     std::holds_alternative<std::optional<int64_t>*>(target);
  if (whole || std::holds_alternative<double*>(target) ||
      std::holds_alternative<std::optional<double>*>(target)) {
    option.minimum = 0;
    option.maximum = whole ? static_cast<double>(kMostCount) : kMostReal;
  }
  return option;
}

const Option* OptionTable::find(std::string_view name, const OptionAlias** used) const {
  const std::string wanted = snake(name);
  for (const Option& option : options_) {
    if (option.name == wanted) {
      return &option;
    }
    for (const OptionAlias& alias : option.aliases) {
      if (alias.name == wanted) {
        if (used != nullptr) {
          *used = &alias;
        }
        return &option;
      }
    }
  }
  return nullptr;
}

std::vector<std::string> OptionTable::names() const {
  std::vector<std::string> out;
  for (const Option& option : options_) {
    out.push_back(option.name);
    for (const OptionAlias& alias : option.aliases) {
      out.push_back(alias.name);
    }
  }
  return out;
}

Json OptionTable::values() const {
  Json out = Json::object();
  for (const Option& option : options_) {
    if (!option.command_line_only && !option.is_secret) {
      out[option.name] = option.value();
    }
  }
  return out;
}

}  // namespace sft
