// --export: GGUF files that are written when training is done.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "cli/run_sft.h"
#include "core/file.h"
#include "support/paths.h"
#include "support/temporary_folder.h"

namespace sft {
namespace {

const fs::path kRoot = fs::path(SFT_TEST_DIR) / "..";

std::string training(const fs::path& out, const std::string& more) {
  return fmt::format(
      "train --model_name_or_path {0}/examples/tiny-model --dataset_name "
      "{0}/examples/data/ostrafell --dataset_test_split train --output_dir {1} --max_steps 2 "
      "--logging_steps 1 --per_device_train_batch_size 4 --threads 1 -q {2}",
      kRoot.string(), out.string(), more);
}

std::vector<fs::path> gguf_files(const fs::path& folder) {
  std::vector<fs::path> out;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".gguf") {
      out.push_back(entry.path());
    }
  }
  return out;
}

TEST(ExportAtTheEnd, IsTheFileThatExportMakesOfTheFolder) {
  const TemporaryFolder out("export_end");
  const RunResult run = run_sft(training(out.path(), "--export gguf:Q8_0 gguf:q4_k_m"));
  ASSERT_EQ(run.code, 0) << run.err;
  const std::vector<fs::path> files = gguf_files(out.path());
  ASSERT_EQ(files.size(), 2u);
  const TemporaryFolder again("export_again");
  for (const fs::path& file : files) {
    const bool eight = file.string().ends_with("Q8_0.gguf");
    const fs::path other = again.path() / "other.gguf";
    const RunResult exported =
        run_sft(fmt::format("export {} --quant {} --output {} -q", out.path().string(),
                            eight ? "q8_0" : "q4_k_m", other.string()));
    ASSERT_EQ(exported.code, 0) << exported.err;
    EXPECT_EQ(read_text(other), read_text(file)) << file;
    EXPECT_NE(read_text(out.path() / "README.md").find(file.filename().string()),
              std::string::npos);
    EXPECT_NE(read_text(out.path() / "report.html").find("exported " + file.filename().string()),
              std::string::npos);
  }
  EXPECT_TRUE(fs::exists(out.path() / "Modelfile"));
}

TEST(ExportAtTheEnd, OfAnAdapterIsAnAdapter) {
  const TemporaryFolder out("export_adapter");
  const RunResult run = run_sft(training(out.path(), "--use_peft --export gguf:f16"));
  ASSERT_EQ(run.code, 0) << run.err;
  ASSERT_EQ(gguf_files(out.path()).size(), 1u);
}

TEST(ExportAtTheEnd, ThatCannotBeIsRefusedBeforeTheRun) {
  const TemporaryFolder parent("export_refused");
  const fs::path out = parent.path() / "out";
  const auto refused = [&](const std::string& more, const std::string& code) {
    const RunResult run = run_sft(training(out, more));
    EXPECT_NE(run.code, 0);
    EXPECT_NE(run.err.find(code), std::string::npos) << run.err;
    EXPECT_FALSE(fs::exists(out / "metrics.jsonl"));
  };
  refused("--export gguf:q9", "C230");
  refused("--export onnx", "C230");
  refused("--use_peft --export gguf:q4_k_m", "M285");
  refused("--use_peft --use_dora --export gguf:f16", "M285");
}

TEST(ExportAtTheEnd, IsPartOfThePlan) {
  const TemporaryFolder parent("export_planned");
  const RunResult run = run_sft(training(parent.path() / "out", "--dry_run --export gguf:q4_k_m"));
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_NE((run.out + run.err).find("gguf:q4_k_m, when training is done"), std::string::npos)
      << run.out << run.err;
  EXPECT_FALSE(fs::exists(parent.path() / "out"));
}

}  // namespace
}  // namespace sft
