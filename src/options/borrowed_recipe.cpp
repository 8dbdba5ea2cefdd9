#include "options/borrowed_recipe.h"

#include <fmt/format.h>

#include "core/contained.h"
#include "core/error.h"

namespace sft {

namespace {

// The first text in the value that leads out; null when there is none.
const std::string* find_leaving(const Json& value) {
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    return names_a_place(text) ? &text : nullptr;
  }
  if (value.is_structured()) {
    for (const Json& member : value) {
      if (const std::string* const found = find_leaving(member)) {
        return found;
      }
    }
  }
  return nullptr;
}

}  // namespace

void check_borrowed_recipe(const OptionTable& table, const ParsedOptions& parsed,
                           const std::string& recipe) {
  if (!is_in_hub_cache(recipe)) {
    return;
  }
  for (const Option& option : table.options()) {
    const auto place = parsed.set_by.find(option.name);
    if (place == parsed.set_by.end()) {
      continue;
    }
    const Json value = option.value();
    if (const std::string* const path = find_leaving(value)) {
      throw Error("D080", fmt::format("a recipe in the hub's cache sets {} to \"{}\", which is a "
                                      "place on this machine",
                                      option.name, *path))
          .at(place->second)
          .hint("if you trust the recipe, copy it to a folder of yours and give that to --config");
    }
  }
}

}  // namespace sft
