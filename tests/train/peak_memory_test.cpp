// The plan of a run on the CPU against what the system counted: the most that the process ever held
// lies below the plan, and not far.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "core/error.h"
#include "core/json.h"
#include "core/philox.h"
#include "io/safetensors_writer.h"
#include "model/model.h"
#include "support/paths.h"

namespace sft {
namespace {

namespace fs = std::filesystem;

constexpr double kMiB = 1 << 20;
// What a plan may be above the peak: it counts on the longest batch, on all that is read ahead and
// on libraries' working memory, which small runs do not fill.
constexpr double kMargin = 1.25, kMarginBytes = 160 * kMiB;

class PeakMemory : public ::testing::Test {
 protected:
  PeakMemory() {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    std::ofstream rows(folder_ / "rows.jsonl");
    for (int i = 0; i < 200; ++i) {
      rows << "{\"text\": \"";
      for (int word = 0; word < 25; ++word) {  // alike, so that every batch is the longest
        rows << "word" << i * word % 997 << ' ';
      }
      rows << "\"}\n";
    }
  }
  ~PeakMemory() override { fs::remove_all(folder_); }

  // A model of that shape with weights that do not matter.
  std::string model(const char* name, int vocab, int hidden, int layers, bool tied) const {
    const fs::path to = folder_ / name;
    fs::copy(SFT_TEST_DIR "/golden/models/chatml", to);
    Json config = read_json(to / "config.json");
    config["vocab_size"] = vocab;
    config["hidden_size"] = hidden;
    config["intermediate_size"] = 3 * hidden;
    config["num_hidden_layers"] = layers;
    config["num_attention_heads"] = 4;
    config["num_key_value_heads"] = 2;
    config["tie_word_embeddings"] = tied;
    config["max_position_embeddings"] = 4096;
    config.erase("head_dim");
    config.erase("layer_types");
    fs::remove(to / "config.json");
    std::ofstream(to / "config.json") << to_text(config, 2);
    const Model made = Model::from_config(config);
    std::vector<float> weights(static_cast<size_t>(made.layout.elements));
    for (size_t i = 0; i < weights.size(); ++i) {
      weights[i] = static_cast<float>(i % 97) * 4e-4F - 0.02F;
    }
    const auto tensors = named_tensors(made.trained, made.layout, weights.data());
    fs::remove(to / "model.safetensors");
    write_safetensors(to / "model.safetensors", streamed(tensors), DType::f32);
    return to.string();
  }

  std::vector<std::string> arguments(const std::string& model, const std::string& more) const {
    std::vector<std::string> out = {SFT_BINARY,
                                    "--model_name_or_path",
                                    model,
                                    "--dataset_name",
                                    (folder_ / "rows.jsonl").string(),
                                    "--output_dir",
                                    (folder_ / "out").string(),
                                    "--use_cpu",
                                    "--threads",
                                    "2",
                                    "--max_steps",
                                    "2"};
    for (size_t begin = 0; begin < more.size();) {
      const size_t end = std::min(more.find(' ', begin), more.size());
      out.push_back(more.substr(begin, end - begin));
      begin = end + 1;
    }
    return out;
  }

  struct Ran {
    int code;
    double peak;  // bytes
    std::string out;
  };
  Ran run(std::vector<std::string> words) const {
    const std::string out = (folder_ / "stdout").string(), err = (folder_ / "stderr").string();
    const pid_t child = ::fork();
    if (child == 0) {
      ::dup2(::open(out.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600), 1);
      ::dup2(::open(err.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600), 2);
      std::vector<char*> argv;
      for (std::string& word : words) {
        argv.push_back(word.data());
      }
      argv.push_back(nullptr);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
    int status = 0;
    rusage used{};
    ::wait4(child, &status, 0, &used);
    Ran ran{WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
            static_cast<double>(used.ru_maxrss) * 1024, read_text(out)};
    EXPECT_EQ(ran.code, 0) << read_text(err);
    return ran;
  }

  void expect_bound(const std::string& model, const std::string& more) const {
    const Json plan =
        parse_json(run(arguments(model, more + " --dry_run --json")).out, "plan").at("memory");
    const Ran ran = run(arguments(model, more));
    const auto planned = plan.at("peak").get<double>();
    if (ran.code != 0) {
      return;
    }
    GTEST_LOG_(INFO) << fmt::format("planned {:6.0f} MiB, held {:6.0f} MiB: {} {}", planned / kMiB,
                                    ran.peak / kMiB, fs::path(model).filename().string(), more);
    EXPECT_LE(ran.peak, planned) << more << '\n' << to_text(plan, 2);
    EXPECT_LE(planned, ran.peak * kMargin + kMarginBytes) << more << '\n' << to_text(plan, 2);
    fs::remove_all(folder_ / "out");
  }

  const fs::path folder_ =
      fs::path(::testing::TempDir()) / fmt::format("sft_peak_memory_{}", ::getpid());
};

#ifndef SFT_SANITIZED
TEST_F(PeakMemory, IsBelowThePlanForModelsOfSeveralSizes) {
  for (const auto& [name, vocab, hidden, layers, tied] : {std::tuple{"tiny", 512, 64, 2, true},
                                                          {"wide", 32000, 128, 4, false},
                                                          {"deep", 4096, 192, 10, true}}) {
    const std::string model = this->model(name, vocab, hidden, layers, tied);
    expect_bound(model, "--save_strategy no");
    expect_bound(model, "--save_steps 1");
    expect_bound(model,
                 "--save_steps 1 --eval_strategy steps --eval_steps 1 --test_split_size 0.2 "
                 "--per_device_eval_batch_size 16");
    expect_bound(model,
                 "--save_strategy no --packing --max_length 512 --per_device_train_batch_size 2 "
                 "--gradient_accumulation_steps 4");
    expect_bound(model, "--save_steps 1 --gradient_checkpointing --per_device_train_batch_size 16");
  }
}
#endif

}  // namespace
}  // namespace sft
