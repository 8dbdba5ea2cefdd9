// Edits a JSON file's text by top-level key: everything that is not edited stays byte for byte, key
// order, spacing and unknown keys included. Used by the model saver on config.json and its
// siblings.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace sft {

class JsonEditor {
 public:
  // `text` must be a JSON object (M010 or M248); `name` is the file shown in errors.
  JsonEditor(std::string text, std::string name);

  const std::string& text() const { return text_; }
  const Json& json() const { return json_; }  // the current value
  bool has(const std::string& key) const { return json_.contains(key); }

  // Sets `key`. A new key goes where the alphabet wants it when the file's keys are sorted, else to
  // the end. Does nothing when the value is there already.
  void set(const std::string& key, const Json& value);
  void erase(const std::string& key);
  // The keys that were set or erased, in order of the first edit.
  const std::vector<std::string>& changed() const { return changed_; }

 private:
  struct Member {
    std::string key;
    size_t begin, value_begin, end;  // of the key's quote, of the value, past the value
  };
  void scan();
  std::string format(const Json& value) const;
  size_t insert_position(const std::string& key) const;
  void note(const std::string& key);

  std::string text_, name_;
  Json json_;
  std::vector<Member> members_;
  std::vector<std::string> changed_;
};

}  // namespace sft
