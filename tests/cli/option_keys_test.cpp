// The list of option names is frozen, so that none is added or lost by accident.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/file.h"
#include "core/strings.h"
#include "support/paths.h"
#include "train/options.h"

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
