// YAML as JSON, for values that stand in recipes and in other programs' files.
#pragma once

#include <string>

#include "core/json.h"

namespace YAML {
class Node;
struct Mark;
}  // namespace YAML

namespace sft {

// "recipe.yaml:12"; the name alone where there is no line.
std::string yaml_place(const std::string& file, const YAML::Mark& mark);

// Scalars as YAML 1.1 has them (yaml_scalar). C023 for a key that is no word and for what is nested
// without end or too large (an alias can refer to what contains it, or multiply without end), C024
// for a key that stands twice. `file` is named in them.
Json yaml_to_json(const YAML::Node& node, const std::string& file);

}  // namespace sft
