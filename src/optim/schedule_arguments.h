// The settings of one learning-rate schedule, lr_scheduler_kwargs, as it asks for them. Used by the
// schedules alone.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "core/numbers.h"
#include "core/strings.h"

namespace sft {

// `finish` refuses settings that nobody asked for.
class ScheduleArguments {
 public:
  ScheduleArguments(std::string schedule, const Json& values) : schedule_(std::move(schedule)) {
    if (values.is_null()) {
      return;
    }
    if (!values.is_object()) {
      throw Error("C102", fmt::format("lr_scheduler_kwargs is a mapping of names to values, not {}",
                                      to_text(values)));
    }
    values_ = values;
  }

  bool has(const std::string& name) {
    known_.push_back(name);
    return values_.contains(name) && !values_[name].is_null();
  }

  double number(const std::string& name, double fallback) {
    if (!has(name)) {
      return fallback;
    }
    if (!values_[name].is_number()) {
      wrong(name, "a number");
    }
    return values_[name].get<double>();
  }

  int64_t whole(const std::string& name, int64_t fallback) {
    const double value = number(name, static_cast<double>(fallback));
    if (value != std::floor(value) || value < 0 || value > static_cast<double>(kMostCount)) {
      wrong(name, fmt::format("a whole number from 0 to {}", kMostCount));
    }
    return static_cast<int64_t>(value);
  }

  bool truth(const std::string& name, bool fallback) {
    if (!has(name)) {
      return fallback;
    }
    if (!values_[name].is_boolean()) {
      wrong(name, "true or false");
    }
    return values_[name].get<bool>();
  }

  std::string word(const std::string& name, const std::vector<std::string>& choices) {
    if (!has(name)) {
      return choices[0];
    }
    const Json& value = values_[name];
    if (!value.is_string() ||
        std::ranges::find(choices, value.get<std::string>()) == choices.end()) {
      wrong(name, fmt::format("one of {}", fmt::join(choices, ", ")));
    }
    return value.get<std::string>();
  }

  void finish() const {
    for (const auto& [name, value] : values_.items()) {
      if (std::ranges::find(known_, name) != known_.end()) {
        continue;
      }
      Error error(
          "C101",
          fmt::format("lr_scheduler_kwargs: {} has no argument \"{}\" (it takes {})", schedule_,
                      name, known_.empty() ? "none" : fmt::format("{}", fmt::join(known_, ", "))));
      const std::string near = nearest(name, known_);
      throw near.empty() ? error : error.hint(fmt::format("did you mean  {}?", near));
    }
  }

  [[noreturn]] void wrong(const std::string& name, std::string_view wanted) const {
    throw Error("C102", fmt::format("lr_scheduler_kwargs: {} of {} must be {}, it is {}", name,
                                    schedule_, wanted, to_text(values_.at(name))));
  }

  [[noreturn]] void missing(std::string_view what, std::string_view example) const {
    throw Error("C103", fmt::format("{} needs {} in lr_scheduler_kwargs", schedule_, what))
        .hint(fmt::format("--lr_scheduler_kwargs '{}'", example));
  }

 private:
  std::string schedule_;
  Json values_ = Json::object();
  std::vector<std::string> known_;
};

}  // namespace sft
