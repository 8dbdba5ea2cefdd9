// Every option against every wrong value: refused at parsing by an error that names it, or taken.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "core/error.h"
#include "core/file.h"
#include "core/numbers.h"
#include "core/strings.h"
#include "options/text.h"
#include "settings/train_options.h"
#include "support/paths.h"

namespace sft {
namespace {

using Args = std::vector<std::string>;

const std::vector<std::string>& values() {
  static const std::vector<std::string> all = {"",
                                               "word",
                                               "-1",
                                               "-7",
                                               "0",
                                               "1",
                                               "3.9",
                                               "2147483647",
                                               "2147483648",
                                               "4294967295",
                                               "4294967297",
                                               "9223372036854775807",
                                               "-9223372036854775808",
                                               "18446744073709551616",
                                               "1e400",
                                               "-1e400",
                                               "1e-400",
                                               "nan",
                                               "-nan",
                                               "inf",
                                               "-inf",
                                               "0x10",
                                               "1_000",
                                               "1,000",
                                               " 5 ",
                                               "5 ",
                                               "5;",
                                               "  ",
                                               "\t",
                                               "auto",
                                               "none",
                                               "true",
                                               "[]",
                                               "{}",
                                               "{\"a\": 1e400}",
                                               "[1, 2",
                                               "\xff\xfe",
                                               "a\nb",
                                               "{\"num_cycles\": 9223372036854775807}"};
  return all;
}

// What is wrong with how the value ends; "" when it is taken or refused as it should be.
std::string fault_of(const std::string& name, const Args& args) {
  try {
    read_train_options(args);
    return "";
  } catch (const Error& error) {
    const std::string text = error.text();
    if (error.code().letter() == 'X') {
      return "ends in " + text;
    }
    return text.find(name) != std::string::npos ? "" : "is not named in: " + text;
  } catch (const std::exception& failure) {
    return fmt::format("ends in {}", failure.what());
  }
}

std::vector<Option> all_options() {
  static TrainOptions options;
  OptionTable table;
  options.visit(table);
  return table.options();
}

TEST(OptionRanges, EveryOptionTakesAValueOrRefusesItByName) {
  for (const Option& option : all_options()) {
    for (const std::string& value : values()) {
      EXPECT_EQ(fault_of(option.name, {fmt::format("--{}={}", option.name, value)}), "")
          << option.name << " = \"" << value << '"';
    }
  }
}

TEST(OptionRanges, ARecipeIsReadByTheSameRules) {
  const fs::path recipe =
      fs::path(::testing::TempDir()) / fmt::format("sft_ranges_{}.yaml", ::getpid());
  for (const Option& option : all_options()) {
    if (option.command_line_only) {
      continue;
    }
    for (const std::string& value : values()) {
      if (value.find_first_of("\xff\n\t") != std::string::npos) {
        continue;  // not YAML
      }
      std::ofstream(recipe) << option.name << ": '" << value << "'\n";
      EXPECT_EQ(fault_of(option.name, {"--config", recipe.string()}), "")
          << option.name << ": '" << value << '\'';
    }
  }
  fs::remove(recipe);
}

TEST(OptionRanges, EveryNumberEndsSomewhereAndWhatLiesBeyondIsRefused) {
  for (const Option& option : all_options()) {
    const std::string type = option.type_name();
    if (!type.starts_with("int") && !type.starts_with("float")) {
      continue;
    }
    ASSERT_TRUE(option.minimum && option.maximum) << option.name;
    EXPECT_LE(*option.maximum, type.starts_with("int") ? 0x1p32 : kMostReal) << option.name;
    const auto refused = [&](const std::string& value) {
      try {
        read_train_options(Args{fmt::format("--{}={}", option.name, value)});
      } catch (const Error& error) {
        return std::string(error.code().text());
      }
      return std::string("taken");
    };
    EXPECT_EQ(refused("9223372036854775807"), *option.maximum < 1e18 ? "C005" : refused("0.5"))
        << option.name;
    EXPECT_EQ(refused("18446744073709551616"), *option.maximum < 1e18 ? "C005" : refused("0.5"))
        << option.name;
    EXPECT_EQ(refused("-9"), "C005") << option.name;
    EXPECT_EQ(refused("1e400"), type.starts_with("int") ? "C004" : "C005") << option.name;
    EXPECT_EQ(refused("nan"), "C004") << option.name;
  }
}

TEST(OptionRanges, SeedsAreThoseOfNumpyAndTorch) {
  for (const char* seed : {"seed", "data_seed"}) {
    EXPECT_EQ(fault_of("", {fmt::format("--{}=4294967295", seed)}), "");
    EXPECT_THROW(read_train_options(Args{fmt::format("--{}=4294967296", seed)}), Error);
  }
}

TEST(OptionRanges, ProductsThatCannotBeCountedAreRefused) {
  for (const Args& args :
       {Args{"--gradient_accumulation_steps", "2147483647", "--per_device_train_batch_size",
             "2147483647"},
        Args{"--gradient_accumulation_steps", "65536", "--per_device_train_batch_size", "65536"}}) {
    try {
      read_train_options(args);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code().text(), "C067");
      EXPECT_NE(error.message().find("--gradient_accumulation_steps"), std::string::npos);
    }
  }
}

TEST(OptionRanges, PaddingIsAutoOrANumber) {
  EXPECT_EQ(read_train_options(Args{}).data.padding_multiple(), 0);
  EXPECT_EQ(read_train_options(Args{"--pad_to_multiple_of", "auto"}).data.padding_multiple(), 0);
  EXPECT_EQ(read_train_options(Args{"--pad_to_multiple_of", "none"}).data.padding_multiple(), 0);
  EXPECT_EQ(read_train_options(Args{"--pad_to_multiple_of", "64"}).data.padding_multiple(), 64);
  for (const char* bad : {"0", "-8", "eight", "8.5", "99999999999999999999"}) {
    try {
      read_train_options(Args{"--pad_to_multiple_of", bad});
      ADD_FAILURE() << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.code().text(), "C006") << bad;
    }
  }
}

// tools/golden/trl_defaults.py
TEST(OptionRanges, EveryDefaultOfTrlCanBeTyped) {
  for (const std::string& line :
       split(read_text(SFT_TEST_DIR "/settings/golden/trl_defaults.txt"), '\n')) {
    const size_t tab = line.find('\t');
    if (tab == std::string::npos) {
      continue;
    }
    const std::string name = line.substr(0, tab), value = line.substr(tab + 1);
    if (name == "output_dir") {
      continue;  // none: TRL's sft.py makes it "trainer_output"
    }
    EXPECT_NO_THROW(read_train_options(Args{"--" + name, value})) << name << " " << value;
  }
}

}  // namespace
}  // namespace sft
