// --json: stdout is JSON and nothing else, one object, or one a line where the command goes on.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "cli/run_sft.h"
#include "core/json.h"
#include "support/paths.h"
#include "support/temporary_folder.h"

namespace sft {
namespace {

const fs::path kRoot = fs::path(SFT_TEST_DIR) / "..";

Json object(const std::string& words) {
  const RunResult run = run_sft(words);
  EXPECT_EQ(run.code, 0) << words << "\n" << run.err;
  return parse_json(run.out, words);
}

TEST(JsonOutput, IsAllThatStandsOnStdout) {
  const TemporaryFolder folder("json_output");
  const std::string out = (folder.path() / "out").string();
  const RunResult trained = run_sft(fmt::format(
      "train --json --model_name_or_path {0}/examples/tiny-model --dataset_name "
      "{0}/examples/data/ostrafell --output_dir {1} --max_steps 2 --logging_steps 1 --threads 1 "
      "--save_strategy no --use_peft",
      kRoot.string(), out));
  ASSERT_EQ(trained.code, 0) << trained.err;
  std::vector<std::string> kinds;
  for (size_t begin = 0; begin < trained.out.size();) {
    const size_t end = trained.out.find('\n', begin);
    const std::string kind =
        parse_json(trained.out.substr(begin, end - begin), "a line")["k"].get<std::string>();
    if (kind != "dev" && kind != "time") {
      kinds.push_back(kind);
    }
    begin = end + 1;
  }
  EXPECT_EQ(kinds, (std::vector<std::string>{"run", "log", "log", "finish", "end"}));

  const Json merged = object(fmt::format("merge --json --adapter {0} --output_dir {0}/m", out));
  EXPECT_EQ(merged["output_dir"], out + "/m");
  // What training has made of the text, the end of a turn among it, comes with the adapter.
  EXPECT_TRUE(object(fmt::format("check --json {}/m", out))["findings"].empty());
  const Json exported = object(fmt::format("export --json {}/m --quant q8_0", out));
  EXPECT_EQ(exported["bytes"], fs::file_size(exported["file"].get<std::string>()));
  EXPECT_TRUE(fs::exists(exported["modelfile"].get<std::string>()));
  EXPECT_TRUE(object(fmt::format("check --json {}", out))["findings"].empty());
  EXPECT_EQ(object(fmt::format("report --json {}", out))["runs"].size(), 1u);

  const Json code = object("explain --json M265")["codes"][0];
  EXPECT_EQ(code["code"], "M265");
  EXPECT_EQ(code["exit_code"], 4);
  EXPECT_GT(object("explain --json")["codes"].size(), 200u);
  EXPECT_TRUE(object("env --json").contains("libraries"));
  EXPECT_EQ(object("config --json --seed 7")["seed"], 7);
}

}  // namespace
}  // namespace sft
