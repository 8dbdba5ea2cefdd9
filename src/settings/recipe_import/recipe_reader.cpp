#include "settings/recipe_import/recipe_reader.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/strings.h"
#include "settings/train_options.h"

namespace sft {

namespace {

bool stands_in(std::string_view names, std::string_view key) {
  const std::vector<std::string> all = split(std::string(names), ' ');
  return std::ranges::find(all, key) != all.end();
}

}  // namespace

const Json& RecipeReader::at(std::string_view key) const {
  static const Json kNone;
  const auto found = recipe_.find(std::string(key));
  return found == recipe_.end() ? kNone : *found;
}

bool RecipeReader::has(std::string_view key) const { return !at(key).is_null(); }

std::string RecipeReader::text(std::string_view key, const std::string& otherwise) const {
  const Json& value = at(key);
  return value.is_string() ? value.get<std::string>() : otherwise;
}

bool RecipeReader::flag(std::string_view key, bool otherwise) const {
  const Json& value = at(key);
  return value.is_boolean() ? value.get<bool>() : otherwise;
}

double RecipeReader::number(std::string_view key, double otherwise) const {
  const Json& value = at(key);
  return value.is_number() ? value.get<double>() : otherwise;
}

void RecipeReader::set(std::string_view option, Json value) {
  if (!out_.options.contains(std::string(option))) {
    out_.options[std::string(option)] = std::move(value);
  }
}

void RecipeReader::set_data_sets(const Json& list) {
  if (list.size() > 1) {
    set("datasets", list);
    return;
  }
  for (const auto& [name, option] : {std::pair("path", "dataset_name"),
                                     {"name", "dataset_config"},
                                     {"split", "dataset_train_split"}}) {
    if (!list.empty() && list[0].contains(name)) {
      set(option, list[0][name]);
    }
  }
}

void RecipeReader::leave_out(const std::string& key, const Json& value, std::string_view why) {
  out_.left_out.push_back({key, to_text(value), std::string(why)});
}

void RecipeReader::take_all(std::span<const RecipeKey> table) {
  TrainOptions defaults;
  OptionTable ours;
  defaults.visit(ours);
  for (const auto& [key, value] : recipe_.items()) {
    if (value.is_null()) {
      continue;  // as if it were not there, in both programs
    }
    const auto row =
        std::ranges::find_if(table, [&](const RecipeKey& k) { return stands_in(k.names, key); });
    if (row != table.end()) {
      if (row->read != nullptr) {
        row->read(*this, key, value);
      } else if (!row->option.empty()) {
        set(row->option, value);
      } else {
        leave_out(key, value, row->words);
      }
      continue;
    }
    if (const Option* option = ours.find(key)) {
      if (option->status == OptionStatus::built) {
        set(option->name, value);
      } else {
        leave_out(key, value, option->status_text);
      }
      continue;
    }
    const auto names = foreign_option_names();
    const auto foreign =
        std::ranges::find_if(names, [&](const ForeignNames& f) { return stands_in(f.names, key); });
    leave_out(key, value,
              foreign == names.end() ? "no counterpart is known"
              : foreign->option.empty()
                  ? std::string(foreign->words)
                  : fmt::format("see  --{}  {}", foreign->option, foreign->words));
  }
}

}  // namespace sft
