// Who speaks in a conversation: the names that data sets use, and the ones that chat templates
// know. Used by the shapes.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "core/json_fwd.h"

namespace sft {

// The template's name for a role ("human" -> "user"), or "" when it is not known.
std::string_view template_role(std::string_view role);
// All names that are known, for an error's hint.
std::string known_roles();

// What the user says about messages; empty members stand for the usual names.
struct MessageRules {
  std::string role_key, content_key;
  std::map<std::string, std::string> role_map;  // the data's name, in lower case -> the template's
};

// One message in the form templates expect, {role, content, ...}: `from`/`value` renamed, the role
// mapped, a function_call turned into tool_calls, null members and the training switch dropped.
// `mapped` collects the roles that were renamed. D032 unknown role, D033 not a message, D036 a
// picture or a sound; all without a place, which the caller adds.
Json normalise_message(const Json& message, const MessageRules& rules,
                       std::map<std::string, std::string>& mapped);

// What a message's own `train`, `weight` or `loss` says: whether it is trained; nothing when it has
// none. D035 a weight that is neither 0 nor 1.
std::optional<bool> training_switch(const Json& message);

}  // namespace sft
