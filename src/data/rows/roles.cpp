#include "data/rows/roles.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/json.h"
#include "core/json_text.h"
#include "core/strings.h"

namespace sft {

namespace {

struct RoleName {
  std::string_view name;
  std::string_view role;
};

constexpr std::array kRoles = {
    RoleName{"user", "user"},
    RoleName{"human", "user"},
    RoleName{"prompter", "user"},
    RoleName{"assistant", "assistant"},
    RoleName{"gpt", "assistant"},
    RoleName{"chatgpt", "assistant"},
    RoleName{"bing", "assistant"},
    RoleName{"bard", "assistant"},
    RoleName{"model", "assistant"},
    RoleName{"bot", "assistant"},
    RoleName{"system", "system"},
    RoleName{"developer", "developer"},
    RoleName{"function_call", "assistant"},
    RoleName{"tool_call", "assistant"},
    RoleName{"tool", "tool"},
    RoleName{"function", "tool"},
    RoleName{"observation", "tool"},
    RoleName{"function_response", "tool"},
    RoleName{"tool_response", "tool"},
    RoleName{"ipython", "ipython"},
};

bool is_call(std::string_view role) { return role == "function_call" || role == "tool_call"; }

// {"name": ..., "arguments": {...}}, one or a list, as text or as JSON -> OpenAI's tool_calls; null
// when it is not that.
Json tool_calls_of(const Json& content) {
  Json calls = content;
  if (content.is_string()) {
    calls = json_of(content.get_ref<const std::string&>());
  }
  if (calls.is_object()) {
    calls = Json::array({std::move(calls)});
  }
  if (!calls.is_array() || calls.empty()) {
    return nullptr;
  }
  Json out = Json::array();
  for (Json& call : calls) {
    if (!call.is_object() || !call.contains("name")) {
      return nullptr;
    }
    if (call.contains("arguments") && call["arguments"].is_string()) {
      Json arguments = json_of(call["arguments"].get_ref<const std::string&>());
      if (arguments.is_object()) {
        call["arguments"] = std::move(arguments);
      }
    }
    out.push_back(Json{{"type", "function"}, {"function", std::move(call)}});
  }
  return out;
}

// The member that the user named, or else one of two usual names.
const Json* member(const Json& message, const std::string& named, const char* name,
                   const char* other_name) {
  if (!named.empty()) {
    const auto found = message.find(named);
    return found == message.end() ? nullptr : &*found;
  }
  for (const char* key : {name, other_name}) {
    if (const auto found = message.find(key); found != message.end()) {
      return &*found;
    }
  }
  return nullptr;
}

constexpr std::array<std::string_view, 3> kSwitches = {"train", "weight", "loss"};

bool is_switch(std::string_view key, const Json& value) {
  return std::ranges::find(kSwitches, key) != kSwitches.end() &&
         (value.is_boolean() || value.is_number());
}

// Content made of parts must be text; a picture would become a token that stands for nothing.
void check_parts(const Json& content) {
  for (const Json& part : content) {
    const auto type = part.is_object() ? part.find("type") : part.end();
    if (part.is_object() && type != part.end() && type->is_string() && *type != "text") {
      const std::string& name = type->get_ref<const std::string&>();
      for (const std::string_view other : {"image", "video", "audio"}) {
        if (name.find(other) != std::string::npos) {
          throw Error("D036", fmt::format("a message has a part of the type \"{}\"", name))
              .hint("only text can be trained; remove the part or the row");
        }
      }
    }
  }
}

}  // namespace

std::string_view template_role(std::string_view role) {
  for (const RoleName& known : kRoles) {
    if (known.name == role) {
      return known.role;
    }
  }
  return "";
}

std::string known_roles() {
  std::string all;
  for (const RoleName& known : kRoles) {
    all += fmt::format("{}{}", all.empty() ? "" : ", ", known.name);
  }
  return all;
}

std::optional<bool> training_switch(const Json& message) {
  for (const std::string_view key : kSwitches) {
    const auto found = message.is_object() ? message.find(std::string(key)) : message.end();
    if (found == message.end() || !is_switch(key, *found)) {
      continue;
    }
    const double value = found->is_boolean() ? (found->get<bool>() ? 1 : 0) : found->get<double>();
    if (value != 0 && value != 1) {
      throw Error("D035", fmt::format("a message's `{}` is {}, wanted 0 or 1", key, found->dump()))
          .hint("a turn is trained or not; parts of a weight are not supported");
    }
    return value == 1;
  }
  return std::nullopt;
}

Json normalise_message(const Json& message, const MessageRules& rules,
                       std::map<std::string, std::string>& mapped) {
  const std::string role_key = rules.role_key.empty() ? "role (or `from`)" : rules.role_key;
  const Json* role =
      message.is_object() ? member(message, rules.role_key, "role", "from") : nullptr;
  if (role == nullptr || !role->is_string()) {
    throw Error("D033", fmt::format("a message must be an object with a {} that is text", role_key))
        .hint(
            "messages look like {\"role\": \"user\", \"content\": \"...\"}; other names can be "
            "given with --message_role_key and --message_content_key");
  }
  const std::string name = to_lower(trim(role->get_ref<const std::string&>()));
  const auto given = rules.role_map.find(name);
  const std::string known(given == rules.role_map.end() ? template_role(name) : given->second);
  if (known.empty()) {
    throw Error("D032", fmt::format("the role \"{}\" is not known", role->get<std::string>()))
        .hint(fmt::format("say what it is with --role_map {}=assistant (or user, system, tool); "
                          "known are {}",
                          name, known_roles()));
  }
  if (known != role->get_ref<const std::string&>()) {
    mapped[role->get<std::string>()] = known;
  }
  const Json* content = member(message, rules.content_key, "content", "value");
  const bool has_calls = message.contains("tool_calls") && !message["tool_calls"].is_null();
  if (content == nullptr && !has_calls) {
    throw Error("D033", rules.content_key.empty()
                            ? "a message has neither content nor `value`"
                            : fmt::format("a message has no `{}`", rules.content_key))
        .hint(
            "messages look like {\"role\": \"user\", \"content\": \"...\"}; other names can be "
            "given with --message_role_key and --message_content_key");
  }
  if (content != nullptr && !content->is_string() && !content->is_null() && !content->is_array() &&
      !(is_call(name) && content->is_object())) {
    throw Error("D033", fmt::format("a message's content must be text, this one is {}",
                                    content->type_name()));
  }
  Json out = {{"role", known}};
  if (content != nullptr) {
    out["content"] = *content;
    if (content->is_array()) {
      check_parts(*content);
    }
  }
  if (is_call(name) && content != nullptr) {
    if (Json calls = tool_calls_of(*content); !calls.is_null()) {
      out["content"] = "";
      out["tool_calls"] = std::move(calls);
    }
  }
  for (const auto& [key, value] : message.items()) {
    const bool own = &value == role || &value == content || key == "role" || key == "content" ||
                     (rules.role_key.empty() && key == "from") ||
                     (rules.content_key.empty() && key == "value");
    if (!own && !value.is_null() && !is_switch(key, value)) {
      out[key] = value;
    }
  }
  return out;
}

}  // namespace sft
