#include "settings/recipe_import.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include "core/error.h"
#include "core/file.h"
#include "options/text.h"
#include "options/yaml_json.h"
#include "settings/recipe_import/recipe_reader.h"
#include "settings/train_options.h"

namespace sft {

namespace {

Json mapping_of(const std::string& text, const std::string& name) {
  YAML::Node root;
  try {
    root = YAML::Load(text);
  } catch (const YAML::Exception& failure) {
    throw Error("C083", fmt::format("{} is not valid YAML: {}", name, failure.msg))
        .at(yaml_place(name, failure.mark));
  }
  if (!root.IsMap()) {
    throw Error("C083", fmt::format("{} is no recipe: it is not a mapping of keys", name))
        .hint("sft import recipe.yml  reads a recipe of Axolotl or LLaMA-Factory");
  }
  return yaml_to_json(root, name);
}

// What only one of the two has.
std::string program_of(const Json& recipe) {
  for (const char* key : {"base_model", "micro_batch_size", "sequence_len"}) {
    if (recipe.contains(key)) {
      return "Axolotl";
    }
  }
  for (const char* key : {"stage", "finetuning_type", "cutoff_len", "template", "dataset_dir"}) {
    if (recipe.contains(key)) {
      return "LLaMA-Factory";
    }
  }
  return "";
}

// Both train in other ways too.
void check_task(const RecipeReader& r, const std::string& program) {
  const std::string key = program == "Axolotl" ? "rl" : "stage";
  const std::string task = r.text(key, "sft");
  if (r.has(key) && task != "sft" && task != "pt") {
    throw Error("C084", fmt::format("{} trains by {}: {}, and sft fine-tunes on examples alone",
                                    r.name(), key, task))
        .at(r.name())
        .hint("import a recipe of supervised fine-tuning");
  }
}

}  // namespace

ImportedRecipe import_recipe(const std::string& text, const std::string& name) {
  Json recipe = mapping_of(text, name);
  ImportedRecipe out;
  out.program = program_of(recipe);
  if (out.program.empty()) {
    throw Error("C083",
                fmt::format("{} is a recipe of neither Axolotl (it would have base_model) nor "
                            "LLaMA-Factory (stage, finetuning_type)",
                            name))
        .at(name)
        .hint("a recipe with TRL's names needs no import:  sft --config " + name);
  }
  RecipeReader reader(std::move(recipe), name, out);
  check_task(reader, out.program);
  if (out.program == "Axolotl") {
    import_axolotl(reader);
  } else {
    import_llama_factory(reader);
  }
  return out;
}

ImportedRecipe import_recipe_file(const std::string& name) {
  if (!is_file(name)) {
    throw Error("C083", name.empty() ? "a recipe is imported, and none is named"
                                     : fmt::format("{} is not there", name))
        .hint("sft import recipe.yml > ours.yaml");
  }
  return import_recipe(read_text(name), name);
}

std::string recipe_text(const ImportedRecipe& recipe, const std::string& name) {
  // Through the table: values are checked as those of a recipe are, and stand in its order.
  TrainOptions options;
  OptionTable table;
  options.visit(table);
  std::string text = fmt::format("# {}, a recipe of {}, by  sft import\n", name, recipe.program);
  std::string given;
  for (const auto& [key, value] : recipe.options.items()) {
    given += yaml_line(key, value);
  }
  ParsedOptions parsed;
  parse_yaml_options(table, given, name, parsed);
  for (const Option& option : table.options()) {
    const auto found = recipe.options.find(option.name);
    if (found != recipe.options.end()) {
      text += yaml_line(option.name, *found);
    }
  }
  if (!recipe.left_out.empty()) {
    text += "\n# Left out:\n";
  }
  for (const LeftOut& left : recipe.left_out) {
    text += fmt::format("#   {}: {}  -- {}\n", left.key, left.value, left.why);
  }
  return text;
}

}  // namespace sft
