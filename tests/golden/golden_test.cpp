// The program's command line against reference runs of TRL: every logged step and the saved
// weights. The runs are made by tools/golden/trl_runs.py; each JSON file beside this one is one
// run.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "core/file.h"
#include "core/json.h"
#include "support/paths.h"
#include "support/run_program.h"

namespace sft {
namespace {

// With SFT_TEST_CUDA the runs go to the GPU, in float32, where sums have another order.
const bool kOnGpu = std::getenv("SFT_TEST_CUDA") != nullptr;
const double kLoss = kOnGpu ? 5e-4 : 2e-5;      // absolute
const double kGradNorm = kOnGpu ? 5e-4 : 1e-4;  // relative
const double kEntropy = kOnGpu ? 5e-4 : 1e-4;   // absolute
const double kWeight = kOnGpu ? 5e-4 : 5e-5;    // absolute, per value
constexpr double kAccuracyTokens = 2;           // tokens that may fall on the other side of a tie

const fs::path kFolder = fs::path(SFT_TEST_DIR) / "golden";

// `{root}` in a value is this folder.
std::string flag_value(const std::string& key, const Json& value) {
  if (key == "report_to" && value.empty()) {
    return "none";
  }
  if (value.is_null()) {
    return "none";
  }
  std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  constexpr std::string_view kRoot = "{root}";
  if (const size_t at = text.find(kRoot); at != std::string::npos) {
    text.replace(at, kRoot.size(), kFolder.string());
  }
  return text;
}

// As `ranks` of them, which take the same rows together, at a stage of ZeRO.
struct Ranks {
  int count = 1;
  int stage = 0;
};

std::vector<std::string> arguments(const Json& run, const fs::path& out, Ranks ranks = {}) {
  std::vector<std::string> words;
  if (ranks.count > 1) {
    words = {"launch", "--nproc_per_node", std::to_string(ranks.count), "--zero_stage",
             std::to_string(ranks.stage)};
  }
  const std::vector<std::string> own = {"--model_name_or_path",
                                        kFolder / "models" / run["model"].get<std::string>(),
                                        "--dataset_name",
                                        kFolder / "data" / run["data"].get<std::string>(),
                                        "--output_dir",
                                        out,
                                        "--do_train"};
  words.insert(words.end(), own.begin(), own.end());
  for (const auto& [key, value] : run["args"].items()) {
    if (kOnGpu && key == "use_cpu") {
      continue;
    }
    words.push_back("--" + key);
    words.push_back(key == "per_device_train_batch_size"
                        ? std::to_string(value.get<int>() / ranks.count)
                        : flag_value(key, value));
  }
  return words;
}

using Weights = std::map<std::string, std::vector<float>>;

Weights read_weights(const fs::path& path) {
  const std::string file = read_text(path);
  uint64_t header_size = 0;
  std::memcpy(&header_size, file.data(), sizeof header_size);
  const Json header = parse_json(std::string_view(file).substr(8, header_size), path.string());
  Weights weights;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      continue;
    }
    EXPECT_EQ(entry["dtype"], "F32") << name;
    const size_t begin = entry["data_offsets"][0].get<size_t>();
    const size_t end = entry["data_offsets"][1].get<size_t>();
    auto& values = weights[name];
    values.resize((end - begin) / sizeof(float));
    std::memcpy(values.data(), file.data() + 8 + header_size + begin, end - begin);
  }
  return weights;
}

bool is_timing(const std::string& key) {
  return key.find("_runtime") != std::string::npos || key.find("_per_second") != std::string::npos;
}

double tolerance(const std::string& key, double want, double targets) {
  if (key.ends_with("loss")) {
    return kLoss;
  }
  if (key == "grad_norm") {
    return kGradNorm * std::abs(want);
  }
  if (key.ends_with("entropy")) {
    return kEntropy;
  }
  if (key.ends_with("mean_token_accuracy")) {
    return (kAccuracyTokens + 0.5) / targets;
  }
  return 1e-12 * std::abs(want);  // counts, epochs and learning rates are exact
}

// A lower bound of the trained tokens behind one entry, from the share of them in the first rows.
double trained_tokens(const Json& run, double tokens) {
  double all = 0;
  double trained = 0;
  for (const Json& row : run["first_rows"]) {
    for (const Json& label : row["labels"]) {
      all += 1;
      trained += label.get<int>() != -100;
    }
  }
  const double steps = run["args"].value("gradient_accumulation_steps", 1);
  return std::max(1.0, tokens * trained / all / steps);
}

// `off`: by how much TRL's own numbers are known to be off, by key, relative; see the run's "note".
void compare_log(const Json& run, const Json& have, Ranks ranks) {
  const Json off = run.value("off", Json::object());
  const Json& want = run["log"];
  ASSERT_EQ(have.size(), want.size());
  double tokens_before = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    SCOPED_TRACE("log entry " + std::to_string(i + 1));
    const double tokens = want[i].value("num_tokens", tokens_before);
    const double targets = trained_tokens(run, tokens - tokens_before);
    tokens_before = tokens;
    for (const auto& [key, value] : want[i].items()) {
      ASSERT_TRUE(have[i].contains(key)) << key;
      // Ranks pad each for itself, which flops are counted by.
      if (!is_timing(key) && (key != "total_flos" || ranks.count == 1)) {
        const double expected = value.get<double>();
        const double allowed =
            tolerance(key, expected, targets) + off.value(key, 0.0) * std::abs(expected);
        EXPECT_NEAR(have[i][key].get<double>(), expected, allowed) << key;
      }
    }
    ASSERT_FALSE(::testing::Test::HasFailure());
  }
}

void compare_weights(const Json& run, const Weights& have) {
  for (const auto& [name, want] : run["final_params"].items()) {
    SCOPED_TRACE(name);
    const bool tied = name == "lm_head.weight" && !have.contains(name);
    const std::string saved = tied ? "model.embed_tokens.weight" : name;
    ASSERT_TRUE(have.contains(saved));
    const std::vector<float>& values = have.at(saved);
    double sum = 0;
    double square = 0;
    for (const float value : values) {
      sum += value;
      square += double{value} * value;
    }
    EXPECT_NEAR(sum, want[0].get<double>(), kWeight * std::sqrt(values.size()));
    EXPECT_NEAR(square, want[1].get<double>(), 1e-4 * want[1].get<double>());
    for (size_t i = 0; i < want[2].size(); ++i) {
      EXPECT_NEAR(values[i], want[2][i].get<double>(), kWeight);
    }
  }
}

class GoldenRun : public ::testing::TestWithParam<std::string> {};

void expect_match(const std::string& name, Ranks ranks) {
  const Json run = read_json(kFolder / (name + ".json"));
  const fs::path folder = fs::path(::testing::TempDir()) /
                          fmt::format("sft_golden_{}_{}_{}", name, ranks.count, ranks.stage);
  fs::remove_all(folder);
  fs::create_directories(folder);
  const fs::path out = folder / "out";
  const fs::path log = folder / "log.txt";
  ASSERT_EQ(run_program(arguments(run, out, ranks), folder, log), 0) << read_text(log);
  compare_log(run, read_json(out / "trainer_state.json")["log_history"], ranks);
  const bool adapter = run["args"].value("use_peft", false);
  const Weights saved =
      read_weights(out / (adapter ? "adapter_model.safetensors" : "model.safetensors"));
  if (adapter) {
    EXPECT_EQ(saved.size(), run["final_params"].size());
  }
  compare_weights(run, saved);
  if (!::testing::Test::HasFailure()) {
    fs::remove_all(folder);
  }
}

TEST_P(GoldenRun, EveryStepAndTheSavedWeightsMatch) { expect_match(GetParam(), {}); }

// Two batches of two rows are TRL's one of four.
TEST(GoldenRanks, TwoRanksMatchAtEveryStage) {
  if (kOnGpu ? !fs::exists("/dev/nvidia1") : !gloo_built()) {
    GTEST_SKIP() << "ranks on CPUs need Gloo, those on GPUs one each";
  }
  for (const char* name : {"assistant_accumulated", "chat_defaults"}) {
    for (const int stage : {0, 1, 2, 3}) {
      SCOPED_TRACE(fmt::format("{}, stage {}", name, stage));
      expect_match(name, {2, stage});
    }
  }
}

std::vector<std::string> runs() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kFolder)) {
    if (entry.path().extension() == ".json") {
      names.push_back(entry.path().stem());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

INSTANTIATE_TEST_SUITE_P(Trl, GoldenRun, ::testing::ValuesIn(runs()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace sft
