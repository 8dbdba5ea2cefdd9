// Which variables a recipe's `env:` may set. A recipe comes from others as a rule: it may say what
// a run is called and how libraries talk, and not which code runs, where a token goes, or what is
// read. Used by the YAML reader.
#pragma once

#include <string>

namespace sft {

// C026 for every other variable, with the reason.
void check_recipe_variable(const std::string& name, const std::string& value);

}  // namespace sft
