// Recipes of Axolotl and LLaMA-Factory as options of ours: `sft import recipe.yml`. Each program
// has a table of its keys (recipe_import/); what a key does is the same here, or it is said what
// does it, or that nothing does. Where the other program's default is not ours, the option is
// written out.
#pragma once

#include <string>
#include <vector>

#include "core/json.h"

namespace sft {

struct LeftOut {
  std::string key, value, why;
};

struct ImportedRecipe {
  std::string program;            // "Axolotl", "LLaMA-Factory"
  Json options = Json::object();  // names and values, in the order of the table of options
  std::vector<LeftOut> left_out;  // in the recipe's order
};

// `text`: the YAML; `name`: the file as it is shown in errors. LLaMA-Factory names data sets by a
// file dataset_info.json in the recipe's dataset_dir, which is read where it is there; a relative
// dataset_dir is looked for from the working folder, as that program does.
// C024 and C023 for what is no recipe in YAML, C083 for one of neither program, C084 for one that
// does not fine-tune on examples (preferences, rewards).
ImportedRecipe import_recipe(const std::string& text, const std::string& name);
// The same of a file; C083 when it is not there.
ImportedRecipe import_recipe_file(const std::string& name);

// The recipe as YAML that --config reads, with what was left out as comments.
std::string recipe_text(const ImportedRecipe& recipe, const std::string& name);

}  // namespace sft
