// A table of the keys that another program's configuration may have, and a strict check of one
// against it. DeepSpeed's JSON, accelerate's YAML and FSDP's settings are each such a table.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace sft {

enum class KeyUse {
  works,      // does here what it does there
  no_effect,  // accepted; `about` says why it does nothing here
  refused,    // only the default (or a section with "enabled": false) is accepted
};

struct ConfigKey {
  // Dots stand between sections. A section whose members are not in the table takes anything.
  std::string_view path;
  // Alternatives between "|": bool, int, float, text, list, object, null, auto, or a word in ''.
  std::string_view type;
  std::string_view default_value;  // as JSON; empty: none
  KeyUse use;
  std::string_view about;
};

// An older spelling; the value is taken over as it is, or, for `wrap`, true becomes {wrap: "cpu"}.
struct RenamedKey {
  std::string_view old_path, path, wrap;
};

class CheckedConfig {
 public:
  CheckedConfig(std::string name, Json values) : name_(std::move(name)), values_(values) {}

  const std::string& name() const { return name_; }
  const Json& values() const { return values_; }
  // The value at a path; null when it is absent.
  Json get(std::string_view path) const;
  bool has(std::string_view path) const { return !get(path).is_null(); }
  bool is_auto(std::string_view path) const { return get(path) == "auto"; }
  // The values below; `fallback` when absent, null or "auto".
  bool flag(std::string_view path, bool fallback) const;
  double number(std::string_view path, double fallback) const;
  std::string text(std::string_view path, const std::string& fallback) const;

  std::vector<std::string> without_effect;  // paths that were given
  std::vector<std::string> renamed;         // "old is now new"

 private:
  std::string name_;
  Json values_;
};

// `name` is what errors call the configuration. C122: unknown keys, all of them, each with the
// nearest known one. C123: values of the wrong type, all of them. C125: refused keys, all of them.
CheckedConfig check_config(const Json& config, std::string name, std::span<const ConfigKey> keys,
                           std::span<const RenamedKey> renamed = {});

// The table as Markdown: key, type, default, and what it does here.
std::string key_table(std::span<const ConfigKey> keys, std::span<const RenamedKey> renamed = {});

// Text that is JSON (comments as in C++ are allowed), base64 of such a text, or the path of a file
// that has it. C120 when it is none of these, C121 when a key stands in it twice.
struct NamedJson {
  std::string name;  // the path, or what the text is called
  Json value;
};
NamedJson read_config_json(const std::string& text, const std::string& option);

}  // namespace sft
