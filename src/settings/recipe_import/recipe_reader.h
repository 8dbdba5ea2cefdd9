// A recipe of another program while its keys are taken one by one. Used by the two tables here.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "settings/recipe_import.h"

namespace sft {

class RecipeReader;

// What a key of the other program becomes: the option of ours that means the same (""  when `read`
// sets what is wanted), or the words that say why there is none.
struct RecipeKey {
  std::string_view names;  // with spaces between them
  std::string_view option;
  std::string_view words;
  void (*read)(RecipeReader&, const std::string& key, const Json& value) = nullptr;
};

class RecipeReader {
 public:
  RecipeReader(Json recipe, std::string name, ImportedRecipe& out)
      : recipe_(std::move(recipe)), name_(std::move(name)), out_(out) {}

  const std::string& name() const { return name_; }
  bool has(std::string_view key) const;  // and its value is not null
  // The value; null when it is not there.
  const Json& at(std::string_view key) const;
  std::string text(std::string_view key, const std::string& otherwise = "") const;
  bool flag(std::string_view key, bool otherwise = false) const;
  double number(std::string_view key, double otherwise) const;
  const Json& recipe() const { return recipe_; }

  // Sets an option of ours; the first that sets it wins, so that a table may come before defaults.
  void set(std::string_view option, Json value);
  // Data sets, as objects with path, name and split: several are `datasets`, one has its own
  // options.
  void set_data_sets(const Json& list);
  bool is_set(std::string_view option) const { return out_.options.contains(std::string(option)); }
  void leave_out(const std::string& key, const Json& value, std::string_view why);

  // Every key of the recipe: by `table`, by our own option of that name, by the names that other
  // programs have (foreign_option_names), else it is left out with words.
  void take_all(std::span<const RecipeKey> table);

 private:
  Json recipe_;
  std::string name_;
  ImportedRecipe& out_;
};

// By a table each.
void import_axolotl(RecipeReader& recipe);
void import_llama_factory(RecipeReader& recipe);

}  // namespace sft
