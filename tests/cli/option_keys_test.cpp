// The list of option names is frozen, so that none is added or lost by accident.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/file.h"
#include "core/strings.h"
#include "settings/train_options.h"
#include "support/paths.h"

namespace sft {
namespace {

std::vector<std::string> declared() {
  TrainOptions options;
  OptionTable table;
  options.visit(table);
  return table.names();
}

TEST(OptionKeys, AreTheFrozenList) {
  std::vector<std::string> names = declared();
  std::ranges::sort(names);
  std::string text;
  for (const std::string& name : names) {
    text += name + "\n";
  }
  EXPECT_EQ(text, read_text(SFT_TEST_DIR "/cli/option_keys.txt"));
}

TEST(OptionKeys, AreUnique) {
  std::vector<std::string> names = declared();
  std::ranges::sort(names);
  EXPECT_EQ(std::ranges::adjacent_find(names), names.end());
}

// Every option that a text names, as "--name".
std::vector<std::string> options_named_in(std::string_view text) {
  std::vector<std::string> names;
  for (size_t at = text.find("--"); at != std::string_view::npos; at = text.find("--", at + 2)) {
    const size_t end = text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_", at + 2);
    names.emplace_back(text.substr(at + 2, end == std::string_view::npos ? end : end - at - 2));
  }
  return names;
}

TEST(OptionKeys, ForeignNamesAreNoOptionsAndTheirHintsNameOptions) {
  const std::vector<std::string> known = declared();
  const auto is_known = [&](std::string_view name) {
    return std::ranges::find(known, name) != known.end();
  };
  for (const ForeignNames& foreign : foreign_option_names()) {
    for (const std::string& name : options_named_in(foreign.words)) {
      const bool of_others = name == "nproc_per_node" || name == "nnodes" ||  // sft launch
                             name == "config" || name == "no";                // --no-python
      EXPECT_TRUE(is_known(name) || of_others) << name;
    }
    EXPECT_TRUE(foreign.option.empty() || is_known(foreign.option)) << foreign.option;
    EXPECT_FALSE(foreign.option.empty() && foreign.words.empty()) << foreign.names;
  }
  std::vector<std::string> seen;
  for (const ForeignNames& foreign : foreign_option_names()) {
    for (const std::string& name : split(foreign.names, ' ')) {
      EXPECT_FALSE(is_known(name)) << name;
      EXPECT_EQ(std::ranges::find(seen, name), seen.end()) << name << " stands here twice";
      seen.push_back(name);
    }
  }
}

TEST(OptionKeys, DefaultsAreWithinTheirOwnRules) {
  TrainOptions options;
  OptionTable table;
  options.visit(table);
  for (const Option& option : table.options()) {
    if (option.choices.empty() || !option.default_value.is_string()) {
      continue;
    }
    const auto value = option.default_value.get<std::string>();
    EXPECT_NE(std::ranges::find(option.choices, value), option.choices.end()) << option.name;
  }
}

}  // namespace
}  // namespace sft
