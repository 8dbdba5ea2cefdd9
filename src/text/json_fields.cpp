#include "text/json_fields.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/json.h"
#include "core/numbers.h"

namespace sft {
namespace {

[[noreturn]] void malformed(const std::string& where, std::string_view key, std::string_view want) {
  throw Error("M100", fmt::format("\"{}\" of {} is not {}", key, where, want))
      .hint("the tokenizer file is damaged; fetch it again");
}

const Json* find(const Json& json, std::string_view key) {
  const auto it = json.find(std::string(key));
  return it == json.end() || it->is_null() ? nullptr : &*it;
}

}  // namespace

std::string component_type(const Json& json, const std::string& where) {
  if (!json.is_object() || find(json, "type") == nullptr) {
    malformed(where, "type", "there");
  }
  return string_field(json, "type", "", where);
}

bool bool_field(const Json& json, std::string_view key, bool otherwise, const std::string& where) {
  const Json* value = find(json, key);
  if (value != nullptr && !value->is_boolean()) {
    malformed(where, key, "true or false");
  }
  return value == nullptr ? otherwise : value->get<bool>();
}

std::string string_field(const Json& json, std::string_view key, std::string_view otherwise,
                         const std::string& where) {
  const Json* value = find(json, key);
  if (value != nullptr && !value->is_string()) {
    malformed(where, key, "a string");
  }
  return value == nullptr ? std::string(otherwise) : value->get<std::string>();
}

std::string filled_field(const Json& json, std::string_view key, std::string_view otherwise,
                         const std::string& where) {
  std::string value = string_field(json, key, otherwise, where);
  if (value.empty()) {
    malformed(where, key, "a text that is not empty");
  }
  return value;
}

int64_t int_field(const Json& json, std::string_view key, int64_t otherwise,
                  const std::string& where) {
  const Json* value = find(json, key);
  if (value == nullptr) {
    return otherwise;
  }
  const auto number = json_whole(*value, -kMostCount, kMostCount);
  if (!number) {
    malformed(where, key, fmt::format("a whole number from {} to {}", -kMostCount, kMostCount));
  }
  return *number;
}

const Json& required_field(const Json& json, std::string_view key, const std::string& where) {
  const Json* value = json.is_object() ? find(json, key) : nullptr;
  if (value == nullptr) {
    malformed(where, key, "there");
  }
  return *value;
}

const Json& required_list(const Json& json, std::string_view key, const std::string& where) {
  const Json& value = required_field(json, key, where);
  if (!value.is_array()) {
    malformed(where, key, "a list");
  }
  return value;
}

}  // namespace sft
