// Who speaks in a conversation: the names that data sets use, and the ones that chat templates
// know. Used by the shapes.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "core/json.h"

namespace sft {

// The template's name for a role ("human" -> "user"), or "" when it is not known.
std::string_view template_role(std::string_view role);
// All names that are known, for an error's hint.
std::string known_roles();

// One message in the form templates expect, {role, content, ...}: `from`/`value` renamed, the role
// mapped, a function_call turned into tool_calls, null members dropped. `mapped` collects the roles
// that were renamed. D032 unknown role, D033 not a message; both without a place, which the caller
// adds.
Json normalise_message(const Json& message, std::map<std::string, std::string>& mapped);

}  // namespace sft
