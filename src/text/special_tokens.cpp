#include "text/special_tokens.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <set>

#include "core/error.h"
#include "core/json.h"

namespace sft {

namespace {

using Named = std::vector<std::pair<std::string, Json>>;

constexpr std::array kNames = {"bos_token", "eos_token", "unk_token", "sep_token",
                               "pad_token", "cls_token", "mask_token"};
constexpr const char* kDecoder = "added_tokens_decoder";
constexpr const char* kExtra = "extra_special_tokens";
constexpr const char* kAddedTokens = "added_tokens.json";
constexpr const char* kOlderExtra = "additional_special_tokens";

const Json& member(const Json& object, const char* name) {
  static const Json nothing;
  const auto found = object.is_object() ? object.find(name) : object.end();
  return object.is_object() && found != object.end() ? *found : nothing;
}

// A token's text: it is a text, or an object with `content`. "" for anything else.
std::string content_of(const Json& token) {
  const Json& text = token.is_object() ? member(token, "content") : token;
  return text.is_string() ? text.get<std::string>() : "";
}

bool is_token(const Json& value) { return !content_of(value).empty(); }

// The names that are set: the usual ones, then the model's own, as image_token.
Named named_tokens(const Json& config) {
  Named out;
  for (const char* name : kNames) {
    if (is_token(member(config, name))) {
      out.emplace_back(name, member(config, name));
    }
  }
  const auto add_own = [&](const std::string& name, const Json& value) {
    const bool known = std::ranges::any_of(out, [&](const auto& n) { return n.first == name; });
    if (is_token(value) && !known) {
      out.emplace_back(name, value);
    }
  };
  if (config.is_object()) {
    for (const auto& [name, value] : config.items()) {
      if (name.ends_with("_token")) {
        add_own(name, value);
      }
    }
    if (const Json& extra = member(config, kExtra); extra.is_object()) {
      for (const auto& [name, value] : extra.items()) {
        add_own(name, value);
      }
    }
  }
  return out;
}

bool is_empty(const Json& value) { return value.is_null() || value.empty(); }

// The special tokens without a name.
const Json& extra_tokens(const Json& config) {
  return config.contains(kExtra) ? member(config, kExtra) : member(config, kOlderExtra);
}

int64_t index_of(const std::string& text, const std::string& where) {
  int64_t index = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), index);
  if (failed != std::errc() || end != text.data() + text.size()) {
    throw Error("M110", "an entry of added_tokens_decoder is called \"" + text +
                            "\", wanted the number of a token")
        .at(where)
        .hint("fetch the model's files again");
  }
  return index;
}

class SpecialTokens {
 public:
  SpecialTokens(const Json& config, const Vocabulary& vocabulary, const std::string& where,
                AddedTokens& added)
      : config_(config),
        vocabulary_(vocabulary),
        where_(where),
        added_(added),
        named_(named_tokens(config)) {}

  void run() {
    const bool has_decoder = member(config_, kDecoder).is_object();
    std::map<int64_t, Json> decoder = has_decoder ? listed() : older_list();
    if (!has_decoder) {
      for (const AddedToken& token : added_.tokens()) {
        decoder.erase(token.id);  // tokenizer.json's own numbers count
      }
    }
    for (auto& [index, token] : decoder) {
      const auto is_this = [&](const auto& n) { return content_of(n.second) == content_of(token); };
      if (std::ranges::any_of(named_, is_this)) {
        token["special"] = true;
      }
      added_.add(Json::array({token}), vocabulary_, where_);
    }
    for (const auto& [name, value] : named_) {
      add_missing(value);
    }
    if (const Json& extra = extra_tokens(config_); extra.is_array()) {
      for (const Json& token : extra) {
        add_missing(token);
      }
    }
  }

 private:
  std::map<int64_t, Json> listed() const {
    std::map<int64_t, Json> out;
    for (const auto& [index, token] : member(config_, kDecoder).items()) {
      if (!is_token(token)) {
        throw Error("M110", "an entry of added_tokens_decoder has no content").at(where_);
      }
      out[index_of(index, where_)] = token;
    }
    return out;
  }

  // added_tokens.json: text -> number.
  std::map<int64_t, Json> older_list() const {
    std::map<int64_t, Json> out;
    if (!member(config_, kAddedTokens).is_object()) {
      return out;
    }
    std::set<std::string> special;
    for (const auto& [name, value] : named_) {
      special.insert(content_of(value));
    }
    if (const Json& extra = member(config_, kExtra); extra.is_array()) {  // the older name not
      for (const Json& token : extra) {
        special.insert(content_of(token));
      }
    }
    for (const auto& [text, index] : member(config_, kAddedTokens).items()) {
      if (!index.is_number_integer()) {
        throw Error("M110", "added_tokens.json: \"" + text + "\" has no number").at(where_);
      }
      const bool is_special = special.contains(text);
      out[index.get<int64_t>()] = {
          {"content", text}, {"special", is_special}, {"normalized", !is_special}};
    }
    return out;
  }

  // A token that is named here and listed nowhere: it is special.
  void add_missing(const Json& value) {
    const std::string content = content_of(value);
    if (content.empty()) {
      throw Error("M110", "a special token is neither a text nor an object with content")
          .at(where_)
          .hint("fetch the model's files again");
    }
    if (added_.by_content(content) == nullptr) {
      Json token = value.is_object() ? value : Json{{"content", content}, {"normalized", false}};
      token["special"] = true;
      added_.add(Json::array({std::move(token)}), vocabulary_, where_);
    }
  }

  const Json& config_;
  const Vocabulary& vocabulary_;
  const std::string& where_;
  AddedTokens& added_;
  Named named_;
};

}  // namespace

Json whole_tokenizer_config(
    const std::function<std::optional<std::string>(const std::string&)>& file_text) {
  const auto read = [&](const char* name) {
    const auto text = file_text(name);
    Json json = text ? parse_json(*text, name) : Json::object();
    if (!json.is_object()) {
      throw Error("M110", std::string(name) + " is not a JSON object")
          .at(name)
          .hint("fetch the model's files again");
    }
    return json;
  };
  Json out = read("tokenizer_config.json");
  const Json map = read("special_tokens_map.json");
  out[kAddedTokens] = read(kAddedTokens);
  if (out.contains(kOlderExtra) && is_empty(member(out, kExtra))) {
    out[kExtra] = out[kOlderExtra];
    out.erase(kOlderExtra);
  }
  if (out.contains(kDecoder)) {
    return out;
  }
  for (const auto& [key, value] : map.items()) {
    if (key != kExtra || !value.is_array()) {
      out[key] = value;
      continue;
    }
    Json all = member(out, kExtra).is_array() ? member(out, kExtra) : Json::array();
    for (const Json& token : value) {
      if (std::ranges::find(all, token) == all.end()) {
        all.push_back(token);
      }
    }
    out[kExtra] = std::move(all);
  }
  return out;
}

std::vector<std::pair<std::string, std::string>> named_special_tokens(const Json& config) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& [name, value] : named_tokens(config)) {
    out.emplace_back(name, content_of(value));
  }
  return out;
}

void add_special_tokens(const Json& config, const Vocabulary& vocabulary, const std::string& where,
                        AddedTokens& added) {
  SpecialTokens(config, vocabulary, where, added).run();
}

}  // namespace sft
