// Every recipe in examples/ trains two steps as it stands, on the tiny model where it names a real
// one.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/json.h"
#include "support/paths.h"
#include "support/run_program.h"

namespace sft {
namespace {

const fs::path kRoot = fs::path(SFT_TEST_DIR).parent_path();

std::vector<std::string> recipes() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kRoot / "examples")) {
    if (entry.path().extension() == ".yaml") {
      names.push_back(entry.path().stem());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

class Recipe : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) / ("sft_recipe_" + GetParam());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override {
    if (!HasFailure()) {
      fs::remove_all(folder_);
    }
  }
  std::string file() const { return "examples/" + GetParam() + ".yaml"; }
  fs::path log() const { return folder_ / "log.txt"; }
  fs::path folder_;
};

TEST_P(Recipe, IsUnderstood) {
  EXPECT_EQ(run_program({"config", "--config", file()}, kRoot, log()), 0) << read_text(log());
}

TEST_P(Recipe, TrainsAndSaves) {
  const fs::path out = folder_ / "out";
  std::vector<std::string> arguments = {
      "--config",        file(), "--model_name_or_path", "examples/tiny-model",
      "--output_dir",    out,    "--max_steps",          "2",
      "--logging_steps", "1"};
  if (GetParam().starts_with("tutorial")) {
    arguments.insert(arguments.end(), {"--dataset_name", "examples/data/ostrafell",
                                       "--dataset_config", "main", "--report_to", "none"});
  }
  ASSERT_EQ(run_program(arguments, kRoot, log()), 0) << read_text(log());
  const Json state = read_json(out / "trainer_state.json");
  EXPECT_EQ(state["global_step"], 2);
  EXPECT_TRUE(std::isfinite(state["log_history"][0]["loss"].get<double>()));
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.json",
                           "chat_template.jinja", "metrics.jsonl"}) {
    EXPECT_TRUE(fs::exists(out / name)) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Examples, Recipe, ::testing::ValuesIn(recipes()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace sft
