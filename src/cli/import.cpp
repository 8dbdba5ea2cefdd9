// `sft import recipe.yml`: a recipe of Axolotl or LLaMA-Factory as ours, with what has no
// counterpart.
#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "settings/recipe_import.h"

namespace sft {

int run_import(Args args, Terminal& terminal) {
  std::string name;
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string& word = args[i];
    if (word == "-h" || word == "--help") {
      terminal.print(
          "sft import RECIPE\n\nPrints a recipe of Axolotl or LLaMA-Factory as YAML for --config. "
          "What has no counterpart\nstands at the end as comments, each with the reason:\n\n"
          "  sft import axolotl.yml > recipe.yaml && sft --config recipe.yaml --dry_run");
      return 0;
    }
    if (word == "--color") {
      ++i;
    } else if (word.starts_with("--color=")) {
      continue;
    } else if (word.starts_with('-') || !name.empty()) {
      throw Error("C001", fmt::format("sft import takes one file, and was given {}", word))
          .hint("sft import recipe.yml > ours.yaml");
    } else {
      name = word;
    }
  }
  const ImportedRecipe recipe = import_recipe_file(name);
  terminal.write(recipe_text(recipe, name));
  if (!recipe.left_out.empty()) {
    terminal.logger(false, 0).note(
        fmt::format("{} of the recipe's settings stand at the end, each with why it was left out",
                    recipe.left_out.size()));
  }
  return 0;
}

}  // namespace sft
