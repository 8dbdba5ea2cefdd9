// Reading the components of tokenizer.json with errors that name the field.
#pragma once

#include <string>
#include <string_view>

#include "core/json_fwd.h"

namespace sft {

// "type" of a component; M100 when it is not an object that has one.
std::string component_type(const Json& json, const std::string& where);

// A field of a component; the default where it is absent or null, M100 where it is of another kind.
bool bool_field(const Json& json, std::string_view key, bool otherwise, const std::string& where);
std::string string_field(const Json& json, std::string_view key, std::string_view otherwise,
                         const std::string& where);
// The same, and M100 where it is empty.
std::string filled_field(const Json& json, std::string_view key, std::string_view otherwise,
                         const std::string& where);
int64_t int_field(const Json& json, std::string_view key, int64_t otherwise,
                  const std::string& where);
// A field that must be there; M100 otherwise.
const Json& required_field(const Json& json, std::string_view key, const std::string& where);
// The same, and M100 where it is no list.
const Json& required_list(const Json& json, std::string_view key, const std::string& where);

}  // namespace sft
