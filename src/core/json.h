// JSON values with their key order kept, so that a file that is edited stays recognisable.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/json_fwd.h"

namespace sft {

// A value as text, on one line or indented. Bytes that are not UTF-8, which arguments, YAML files
// and columns may hold, become U+FFFD, where dump() would throw.
std::string to_text(const Json& value, int indent = -1);

// Parses a whole document; `name` is the file shown in an error (M010 with line and column).
Json parse_json(std::string_view text, const std::string& name);
// Reads and parses a file (M010 as above; M001 when the file cannot be read).
Json read_json(const std::filesystem::path& path);

}  // namespace sft
