#include "core/saved_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "core/contained.h"
#include "core/error.h"
#include "core/numbers.h"

namespace sft {
namespace {

constexpr int64_t kMost = int64_t{1} << 53;
constexpr double kMostReal = 1e300;

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};

Json real(double value) { return std::isfinite(value) ? Json(value) : Json(); }

Json written(const StateField& field) {
  return std::visit(
      Overloaded{
          [](const NestedState& part) {
            if (!part.there) {
              return Json();
            }
            StateTable table;
            part.visit(table);
            return write_state(table);
          },
          [](const double* value) { return real(*value); },
          [](const std::optional<double>* value) { return *value ? real(**value) : Json(); },
          [](const std::optional<int64_t>* value) { return *value ? Json(**value) : Json(); },
          [](const std::optional<std::string>* value) { return *value ? Json(**value) : Json(); },
          [](const auto* value) { return Json(*value); }},
      field.target);
}

class StateReader {
 public:
  explicit StateReader(const StateOrigin& origin) : origin_(origin) {}

  void table(const StateTable& table, const Json& json, const std::string& path) const {
    if (!json.is_object()) {
      wrong(path, json, "an object");
    }
    for (const StateField& field : table.fields()) {
      if (field.missing && json.value(field.key, Json()).is_null()) {
        continue;
      }
      if (json.contains(field.key)) {
        one(field, json[field.key], joined(path, field.key));
      } else {
        throw error(fmt::format("\"{}\" is missing", joined(path, field.key)));
      }
    }
    for (const auto& [key, value] : json.items()) {
      const bool listed = std::ranges::any_of(
          table.fields(), [&](const StateField& field) { return field.key == key; });
      if (!listed && !origin_.others) {
        throw error(fmt::format("\"{}\" is nothing that this program saves", joined(path, key)));
      }
    }
  }

 private:
  static std::string joined(const std::string& path, const std::string& name) {
    return path.empty() ? name : path + "." + name;
  }
  Error error(const std::string& what) const {
    return Error(origin_.code, fmt::format("{}: {}", origin_.file, what)).hint(origin_.hint);
  }
  [[noreturn]] void wrong(const std::string& path, const Json& value,
                          const std::string& wanted) const {
    throw error(fmt::format("{} is {}, it must be {}",
                            path.empty() ? "the state" : fmt::format("\"{}\"", path),
                            to_text(value).substr(0, 60), wanted));
  }

  void one(const StateField& field, const Json& value, const std::string& path) const {
    std::visit(Overloaded{[&](const NestedState& part) { this->part(part, value, path); },
                          [&](bool* to) {
                            value.is_boolean() ? void(*to = value.get<bool>())
                                               : wrong(path, value, "true or false");
                          },
                          [&](int64_t* to) { *to = count(field, value, path); },
                          [&](double* to) {
                            if (!(field.none && value.is_null())) {
                              *to = number(value, path);
                            }
                          },
                          [&](std::string* to) { *to = text(field, value, path); },
                          [&](std::optional<int64_t>* to) {
                            value.is_null() ? to->reset() : void(*to = count(field, value, path));
                          },
                          [&](std::optional<double>* to) {
                            value.is_null() ? to->reset() : void(*to = number(value, path));
                          },
                          [&](std::optional<std::string>* to) {
                            value.is_null() ? to->reset() : void(*to = text(field, value, path));
                          },
                          [&](std::vector<double>* to) { *to = numbers(value, path); },
                          [&](Json* to) { *to = value; }},
               field.target);
  }

  void part(const NestedState& part, const Json& value, const std::string& path) const {
    if (value.is_null() && (part.drop || !part.make)) {
      return part.drop ? part.drop() : void();
    }
    if (part.make) {
      part.make();
    } else if (!part.there) {
      return;
    }
    StateTable inner;
    part.visit(inner);
    table(inner, value, path);
  }

  int64_t count(const StateField& field, const Json& value, const std::string& path) const {
    const auto whole = json_whole(value, field.least, kMost);
    if (!whole) {
      wrong(path, value, fmt::format("a whole number from {} to {}", field.least, kMost));
    }
    return *whole;
  }
  double number(const Json& value, const std::string& path) const {
    const auto real = json_real(value, -kMostReal, kMostReal);
    if (!real) {
      wrong(path, value, "a finite number");
    }
    return *real;
  }
  std::string text(const StateField& field, const Json& value, const std::string& path) const {
    if (!value.is_string()) {
      wrong(path, value, "a text");
    }
    if (field.name && !is_file_name(value.get_ref<const std::string&>())) {
      wrong(path, value, "a name, and no path");
    }
    return value.get<std::string>();
  }
  std::vector<double> numbers(const Json& value, const std::string& path) const {
    if (!value.is_array()) {
      wrong(path, value, "a list of finite numbers");
    }
    std::vector<double> out;
    for (size_t i = 0; i < value.size(); ++i) {
      out.push_back(number(value[i], fmt::format("{}.{}", path, i)));
    }
    return out;
  }

  const StateOrigin& origin_;
};

}  // namespace

StateField& StateField::at_least(int64_t value) {
  least = value;
  return *this;
}

StateField& StateField::or_none() {
  none = true;
  return *this;
}

StateField& StateField::is_name() {
  name = true;
  return *this;
}

StateField& StateField::may_be_missing() {
  missing = true;
  return *this;
}

StateField& StateTable::operator()(std::string name, StateTarget target) {
  if (std::ranges::find(fields_, name, &StateField::key) != fields_.end()) {
    throw std::logic_error(fmt::format("the state lists \"{}\" twice", name));
  }
  fields_.push_back({std::move(name), std::move(target)});
  return fields_.back();
}

Json write_state(const StateTable& table) {
  Json out = Json::object();
  for (const StateField& field : table.fields()) {
    out[field.key] = written(field);
  }
  return out;
}

void read_state(const StateTable& table, const Json& json, const StateOrigin& origin) {
  StateReader(origin).table(table, json, "");
}

}  // namespace sft
