#include "io/json_edit.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"

namespace sft {

namespace {

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

size_t skip_space(const std::string& text, size_t i) {
  while (i < text.size() && is_space(text[i])) {
    ++i;
  }
  return i;
}

// The place after the string that begins at `i`. The text is known to be valid.
size_t skip_string(const std::string& text, size_t i) {
  for (++i; text[i] != '"'; ++i) {
    i += text[i] == '\\' ? 1 : 0;
  }
  return i + 1;
}

size_t skip_value(const std::string& text, size_t i) {
  if (text[i] == '"') {
    return skip_string(text, i);
  }
  if (text[i] != '{' && text[i] != '[') {
    return text.find_first_of(",}] \t\r\n", i);
  }
  int depth = 0;
  do {
    const char c = text[i];
    if (c == '"') {
      i = skip_string(text, i);
      continue;
    }
    depth += c == '{' || c == '[' ? 1 : 0;
    depth -= c == '}' || c == ']' ? 1 : 0;
    ++i;
  } while (depth > 0);
  return i;
}

}  // namespace

JsonEditor::JsonEditor(std::string text, std::string name)
    : text_(std::move(text)), name_(std::move(name)), json_(parse_json(text_, name_)) {
  if (!json_.is_object()) {
    throw Error("M248", fmt::format("{} is not a JSON object", name_))
        .hint("fetch the model's files again");
  }
  scan();
}

// Finds the spans of the members of the outermost object.
void JsonEditor::scan() {
  members_.clear();
  size_t i = text_.find('{') + 1;
  for (i = skip_space(text_, i); text_[i] != '}'; i = skip_space(text_, i)) {
    Member m;
    m.begin = i;
    i = skip_string(text_, i);
    m.key = Json::parse(text_.substr(m.begin, i - m.begin)).get<std::string>();
    i = skip_space(text_, skip_space(text_, i) + 1);
    m.value_begin = i;
    m.end = i = skip_value(text_, i);
    members_.push_back(std::move(m));
    i = skip_space(text_, i);
    i += text_[i] == ',' ? 1 : 0;
  }
}

void JsonEditor::note(const std::string& key) {
  if (std::find(changed_.begin(), changed_.end(), key) == changed_.end()) {
    changed_.push_back(key);
  }
}

// The value in the file's own style: indented under its key, or on one line in a compact file.
std::string JsonEditor::format(const Json& value) const {
  const size_t newline =
      members_.empty() ? std::string::npos : text_.rfind('\n', members_.front().begin);
  if (newline == std::string::npos && !members_.empty()) {
    return to_text(value);
  }
  const std::string indent =
      members_.empty() ? "  " : text_.substr(newline + 1, members_.front().begin - newline - 1);
  const bool tabs = indent.starts_with("\t");
  const std::string plain = value.dump(tabs ? 1 : std::max<int>(1, static_cast<int>(indent.size())),
                                       tabs ? '\t' : ' ', false, Json::error_handler_t::replace);
  std::string result;
  for (const char c : plain) {
    result += c;
    if (c == '\n') {
      result += indent;
    }
  }
  return result;
}

// The index of the member before which `key` goes; members_.size() for the end.
size_t JsonEditor::insert_position(const std::string& key) const {
  const auto less = [](const Member& a, const Member& b) { return a.key < b.key; };
  if (!std::is_sorted(members_.begin(), members_.end(), less)) {
    return members_.size();
  }
  const auto it =
      std::find_if(members_.begin(), members_.end(), [&](const Member& m) { return m.key > key; });
  return static_cast<size_t>(it - members_.begin());
}

void JsonEditor::set(const std::string& key, const Json& value) {
  if (has(key) && to_text(json_[key]) == to_text(value)) {
    return;
  }
  // When a key stands twice the last one counts, so that is the one to edit.
  const auto found = std::find_if(members_.rbegin(), members_.rend(),
                                  [&](const Member& m) { return m.key == key; });
  const std::string written = format(value);
  if (found != members_.rend()) {
    text_.replace(found->value_begin, found->end - found->value_begin, written);
  } else if (members_.empty()) {
    const size_t open = text_.find('{');
    text_.replace(open, text_.find('}', open) + 1 - open,
                  fmt::format("{{\n  {}: {}\n}}", to_text(key), written));
  } else {
    const Member& first = members_.front();
    const size_t open = text_.find('{');
    const std::string before_key = text_.substr(open + 1, first.begin - open - 1);
    const std::string key_end = text_.substr(first.value_begin - 1, 1) == ":" ? ":" : ": ";
    const std::string member = to_text(key) + key_end + written;
    const size_t at = insert_position(key);
    const std::string separator = before_key.empty() && key_end == ": " ? ", " : "," + before_key;
    if (at == members_.size()) {
      text_.insert(members_.back().end, separator + member);
    } else {
      text_.insert(members_[at].begin, member + separator);
    }
  }
  json_[key] = value;
  note(key);
  scan();
}

void JsonEditor::erase(const std::string& key) {
  for (size_t i = members_.size(); i-- > 0;) {
    if (members_[i].key != key) {
      continue;
    }
    // With its comma: the one before it, or for the first member the one after it.
    if (i > 0) {
      text_.erase(members_[i - 1].end, members_[i].end - members_[i - 1].end);
    } else if (members_.size() > 1) {
      text_.erase(members_[0].begin, members_[1].begin - members_[0].begin);
    } else {
      text_.erase(members_[0].begin, members_[0].end - members_[0].begin);
    }
    note(key);
    scan();
  }
  json_.erase(key);
}

}  // namespace sft
