#include "data/roles.h"

#include <fmt/format.h>

#include <array>

#include "core/error.h"
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
    calls = Json::parse(content.get_ref<const std::string&>(), nullptr, false);
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
      Json arguments = Json::parse(call["arguments"].get_ref<const std::string&>(), nullptr, false);
      if (arguments.is_object()) {
        call["arguments"] = std::move(arguments);
      }
    }
    out.push_back(Json{{"type", "function"}, {"function", std::move(call)}});
  }
  return out;
}

const Json* member(const Json& message, const char* name, const char* other_name) {
  for (const char* key : {name, other_name}) {
    if (const auto found = message.find(key); found != message.end()) {
      return &*found;
    }
  }
  return nullptr;
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

Json normalise_message(const Json& message, std::map<std::string, std::string>& mapped) {
  const Json* role = message.is_object() ? member(message, "role", "from") : nullptr;
  if (role == nullptr || !role->is_string()) {
    throw Error("D033", "a message must be an object with a role (or `from`) that is text")
        .hint("messages look like {\"role\": \"user\", \"content\": \"...\"}");
  }
  const std::string name = to_lower(trim(role->get_ref<const std::string&>()));
  const std::string_view known = template_role(name);
  if (known.empty()) {
    throw Error("D032", fmt::format("the role \"{}\" is not known", role->get<std::string>()))
        .hint(fmt::format("rename it to one of: {}", known_roles()));
  }
  if (known != role->get_ref<const std::string&>()) {
    mapped[role->get<std::string>()] = known;
  }
  const Json* content = member(message, "content", "value");
  const bool has_calls = message.contains("tool_calls") && !message["tool_calls"].is_null();
  if (content == nullptr && !has_calls) {
    throw Error("D033", "a message has neither content nor `value`")
        .hint("messages look like {\"role\": \"user\", \"content\": \"...\"}");
  }
  if (content != nullptr && !content->is_string() && !content->is_null() && !content->is_array() &&
      !(is_call(name) && content->is_object())) {
    throw Error("D033", fmt::format("a message's content must be text, this one is {}",
                                    content->type_name()));
  }
  Json out = {{"role", known}};
  if (content != nullptr) {
    out["content"] = *content;
  }
  if (is_call(name) && content != nullptr) {
    if (Json calls = tool_calls_of(*content); !calls.is_null()) {
      out["content"] = "";
      out["tool_calls"] = std::move(calls);
    }
  }
  for (const auto& [key, value] : message.items()) {
    if (key != "role" && key != "from" && key != "content" && key != "value" && !value.is_null()) {
      out[key] = value;
    }
  }
  return out;
}

}  // namespace sft
