#include "settings/sharding_config/config_schema.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/error.h"
#include "core/file.h"
#include "core/json_text.h"
#include "core/numbers.h"
#include "core/strings.h"

namespace sft {
namespace {

bool is_whole(const Json& v) {
  constexpr int64_t kMost = int64_t{1} << 53;  // every whole number up to here is a double
  return json_whole(v, -kMost, kMost).has_value();
}

bool has_type(const Json& v, std::string_view one) {
  if (one.starts_with('\'')) {
    return v.is_string() && v.get<std::string>() == one.substr(1, one.size() - 2);
  }
  return (one == "bool" && v.is_boolean()) || (one == "int" && is_whole(v)) ||
         (one == "float" && v.is_number()) || (one == "text" && v.is_string()) ||
         (one == "list" && v.is_array()) || (one == "object" && v.is_object()) ||
         (one == "null" && v.is_null()) || (one == "auto" && v == "auto");
}

bool fits(const Json& value, std::string_view type) {
  for (const std::string& one : split(type, '|')) {
    if (has_type(value, one)) {
      return true;
    }
  }
  return false;
}

std::string wanted(std::string_view type) {
  std::string out;
  for (const std::string& one : split(type, '|')) {
    out += (out.empty() ? "" : ", ") + (one == "auto" ? "\"auto\"" : one);
  }
  return out;
}

// Equal as numbers, whatever their spelling: 1 and 1.0, 5e8 and 500000000.
bool same(const Json& a, const Json& b) {
  return a.is_number() && b.is_number() ? a.get<double>() == b.get<double>() : a == b;
}

bool is_default(const Json& value, const ConfigKey& key) {
  if (value.is_object()) {
    return value.empty() ||
           (value.contains("enabled") && (value["enabled"] == false || value["enabled"].is_null()));
  }
  return value.is_null() || value == "auto" || (value.is_array() && value.empty()) ||
         (!key.default_value.empty() && same(value, Json::parse(key.default_value)));
}

class Checker {
 public:
  Checker(std::string name, std::span<const ConfigKey> keys)
      : name_(std::move(name)), keys_(keys) {}

  void section(const Json& values, const std::string& prefix, CheckedConfig& out) {
    for (const auto& [name, value] : values.items()) {
      const std::string path = prefix + name;
      const auto key = std::ranges::find(keys_, path, &ConfigKey::path);
      if (key == keys_.end()) {
        unknown(path, prefix);
      } else if (!fits(value, key->type) && !value.is_null()) {
        wrong_.push_back(
            fmt::format("{} is {}, it takes {}", path, to_text(value), wanted(key->type)));
      } else if (key->use == KeyUse::refused) {
        if (!is_default(value, *key)) {
          refused_.push_back(fmt::format("{}: {}", path, key->about));
        }
      } else if (value.is_object() && has_members(path)) {
        section(value, path + ".", out);
      } else if (key->use == KeyUse::no_effect) {
        out.without_effect.push_back(path);
      }
    }
  }

  void finish() const {
    fail("C122", unknown_, "has unknown keys");
    fail("C123", wrong_, "has values of the wrong kind");
    fail("C125", refused_, "asks for what is not built");
  }

 private:
  bool has_members(const std::string& path) const {
    return std::ranges::any_of(
        keys_, [&](const ConfigKey& key) { return key.path.starts_with(path + "."); });
  }

  void unknown(const std::string& path, const std::string& prefix) {
    std::vector<std::string> beside, all;
    for (const ConfigKey& key : keys_) {
      all.emplace_back(key.path);
      if (key.path.starts_with(prefix)) {
        beside.emplace_back(key.path);
      }
    }
    std::string near = nearest(path, beside);
    for (const std::string& other : all) {  // the right name in the wrong section
      const std::string last = path.substr(prefix.size());
      if (near.empty() && (other == last || other.ends_with("." + last))) {
        near = other;
      }
    }
    unknown_.push_back(near.empty() ? path : fmt::format("{} (did you mean {}?)", path, near));
  }

  void fail(Code code, const std::vector<std::string>& lines, const char* what) const {
    if (!lines.empty()) {
      throw Error(code, fmt::format("{} {}: {}", name_, what, fmt::join(lines, "; ")))
          .hint("sft help deepspeed  lists the keys and what they do here");
    }
  }

  std::string name_;
  std::span<const ConfigKey> keys_;
  std::vector<std::string> unknown_, wrong_, refused_;
};

const Json* find(const Json& values, std::string_view path) {
  const Json* at = &values;
  for (const std::string& part : split(path, '.')) {
    if (!at->is_object() || !at->contains(part)) {
      return nullptr;
    }
    at = &(*at)[part];
  }
  return at;
}

void move_renamed(Json& values, std::span<const RenamedKey> renamed, const std::string& name,
                  std::vector<std::string>& said) {
  for (const RenamedKey& rename : renamed) {
    const Json* old = find(values, rename.old_path);
    if (old == nullptr) {
      continue;
    }
    Json value = *old;
    const auto pointer = [](std::string_view path) {
      std::string text = "/" + std::string(path);
      std::ranges::replace(text, '.', '/');
      return Json::json_pointer(text);
    };
    const auto old_pointer = pointer(rename.old_path);
    values[old_pointer.parent_pointer()].erase(old_pointer.back());
    said.push_back(fmt::format("{}: {} is now {}", name, rename.old_path, rename.path));
    if (!rename.wrap.empty()) {
      value = value == true ? Json{{rename.wrap, "cpu"}} : Json();
    }
    if (value.is_null()) {
      continue;
    }
    if (find(values, rename.path) != nullptr) {
      throw Error("C128", fmt::format("{} has both {} and {}, two names of one key", name,
                                      rename.old_path, rename.path));
    }
    values[pointer(rename.path)] = std::move(value);
  }
}

// Strict: duplicates are an error and comments are allowed.
Json parse_strict(const std::string& text, const std::string& name) {
  std::vector<std::vector<std::string>> open;
  std::string twice;
  const auto watch = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) {
      open.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      open.pop_back();
    } else if (event == Json::parse_event_t::key) {
      const std::string key = parsed.get<std::string>();
      if (std::ranges::find(open.back(), key) != open.back().end()) {
        twice += (twice.empty() ? "" : ", ") + key;
      }
      open.back().push_back(key);
    }
    return true;
  };
  if (too_deep(text)) {
    throw Error("C120", fmt::format("{} is nested more than {} deep", name, kMaxJsonDepth));
  }
  Json value;
  try {
    value = Json::parse(text, watch, true, true);
  } catch (const Json::exception&) {
    try {
      parse_json(text, name);  // says where
    } catch (const Error& failure) {
      throw Error("C120", failure.message()).at(failure.where());
    }
    throw Error("C120", fmt::format("{} is not valid JSON", name));
  }
  if (!twice.empty()) {
    throw Error("C024", fmt::format("{} has keys that stand in it twice: {}", name, twice));
  }
  if (!value.is_object()) {
    throw Error("C120", fmt::format("{} is not a JSON object", name));
  }
  return value;
}

std::optional<std::string> from_base64(std::string_view text) {
  std::string out;
  uint32_t bits = 0;
  int have = 0;
  while (text.ends_with('=')) {
    text.remove_suffix(1);
  }
  for (const char c : text) {
    static constexpr std::string_view kDigits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    const size_t digit = c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : kDigits.find(c);
    if (digit == std::string_view::npos) {
      return std::nullopt;
    }
    bits = bits << 6 | static_cast<uint32_t>(digit);
    have += 6;
    if (have >= 8) {
      have -= 8;
      out += static_cast<char>(bits >> have & 0xFF);
    }
  }
  return out;
}

}  // namespace

Json CheckedConfig::get(std::string_view path) const {
  const Json* found = find(values_, path);
  return found == nullptr ? Json() : *found;
}

bool CheckedConfig::flag(std::string_view path, bool fallback) const {
  const Json value = get(path);
  return value.is_boolean() ? value.get<bool>() : fallback;
}

double CheckedConfig::number(std::string_view path, double fallback) const {
  const Json value = get(path);
  return value.is_number() ? value.get<double>() : fallback;
}

std::string CheckedConfig::text(std::string_view path, const std::string& fallback) const {
  const Json value = get(path);
  return value.is_string() && value != "auto" ? value.get<std::string>() : fallback;
}

CheckedConfig check_config(const Json& config, std::string name, std::span<const ConfigKey> keys,
                           std::span<const RenamedKey> renamed) {
  Json values = config;
  std::vector<std::string> said;
  move_renamed(values, renamed, name, said);
  CheckedConfig out(name, values);
  Checker checker(std::move(name), keys);
  checker.section(out.values(), "", out);
  checker.finish();
  out.renamed = std::move(said);
  return out;
}

std::string key_table(std::span<const ConfigKey> keys, std::span<const RenamedKey> renamed) {
  std::string out = "| key | type | default | here |\n|---|---|---|---|\n";
  for (const ConfigKey& key : keys) {
    std::string type(key.type);
    for (size_t at = 0; (at = type.find('|', at)) != std::string::npos; at += 4) {
      type.replace(at, 1, " or ");
    }
    const char* use = key.use == KeyUse::works       ? ""
                      : key.use == KeyUse::no_effect ? "no effect: "
                                                     : "refused: ";
    out +=
        fmt::format("| {} | {} | {} | {}{} |\n", key.path, type, key.default_value, use, key.about);
  }
  for (const RenamedKey& rename : renamed) {
    out += fmt::format("| {} | | | older name of {} |\n", rename.old_path, rename.path);
  }
  return out;
}

NamedJson read_config_json(const std::string& text, const std::string& option) {
  const std::string_view trimmed = trim(text);
  if (trimmed.starts_with('{')) {
    return {option, parse_strict(text, option)};
  }
  if (is_there(text) && !is_folder(text)) {
    return {text, parse_strict(read_text(text), text)};
  }
  const auto decoded = from_base64(trimmed);
  if (decoded && trim(*decoded).starts_with('{')) {
    return {option, parse_strict(*decoded, option)};
  }
  throw Error("C120", fmt::format("{} {}: there is no such file, and it is neither JSON nor base64 "
                                  "of JSON",
                                  option, text));
}

}  // namespace sft
