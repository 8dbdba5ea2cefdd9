// What a run leaves beside its weights hangs on what it has trained, wherever in the data that was.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "cli/run_sft.h"
#include "core/json.h"

namespace sft {
namespace {

const fs::path kTiny = fs::path(SFT_TEST_DIR) / "../examples/tiny-model";
constexpr int kEos = 509;      // <|endoftext|>, in config.json
constexpr int kTurnEnd = 511;  // <|im_end|>, in the template
constexpr int kRows = 160;

class SavedModel : public ::testing::Test {
 protected:
  SavedModel() {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    fs::copy(kTiny, folder_ / "model");
    Json config = read_json(kTiny / "config.json");
    config["eos_token_id"] = kEos;
    std::ofstream(folder_ / "model/config.json") << to_text(config, 2);
  }
  ~SavedModel() override { fs::remove_all(folder_); }

  // Rows of tokens of which one, behind all that is looked at first, ends a turn.
  void write_tokens(bool one_ends_a_turn) const {
    std::ofstream rows(folder_ / "rows.jsonl");
    for (int i = 0; i < kRows; ++i) {
      rows << fmt::format("{{\"input_ids\": [5, 6, 7, {}]}}\n",
                          one_ends_a_turn && i == kRows - 10 ? kTurnEnd : 8);
    }
  }

  void train(const std::string& more) const {
    const RunResult result =
        run_sft(fmt::format("--model '{0}/model' --dataset_name '{0}/rows.jsonl' --output_dir "
                            "'{0}/out' --num_train_epochs 1 --logging_steps 100 --use_cpu "
                            "--threads 1 {1}",
                            folder_.string(), more));
    ASSERT_EQ(result.code, 0) << result.err;
  }
  Json eos(const std::string& folder) const {
    return read_json(folder_ / "out" / folder / "config.json")["eos_token_id"];
  }

  fs::path folder_ = fs::temp_directory_path() / ("sft_saved_" + std::to_string(getpid()));
};

TEST_F(SavedModel, AnyRowThatEndsATurnMakesItsTokenTheEos) {
  for (const bool ends : {false, true}) {
    write_tokens(ends);
    train("--save_strategy no");
    EXPECT_EQ(eos(""), ends ? kTurnEnd : kEos) << ends;
    fs::remove_all(folder_ / "out");
  }
}

TEST_F(SavedModel, ACheckpointSaysWhatWasTrainedAndTheRunThatGoesOnRemembersIt) {
  write_tokens(true);
  train("--save_steps 1 --save_strategy steps");
  const auto step = [&](int n) { return eos(fmt::format("checkpoint-{}", n)); };
  int first = 1;  // that has seen the row
  while (first < 20 && step(first) == kEos) {
    ++first;
  }
  ASSERT_GT(first, 1) << "another seed would show more";
  ASSERT_LT(first, 20);
  for (int n = 1; n <= 20; ++n) {
    EXPECT_EQ(step(n), n < first ? kEos : kTurnEnd) << n;
  }
  train(fmt::format("--save_strategy no --resume_from_checkpoint '{}/out/checkpoint-{}'",
                    folder_.string(), first));
  EXPECT_EQ(eos(""), kTurnEnd);
}

TEST_F(SavedModel, AConversationAnywhereBringsTheTemplateThatItWasRenderedWith) {
  fs::remove(folder_ / "model/chat_template.jinja");
  for (const bool chats : {false, true}) {
    std::ofstream rows(folder_ / "rows.jsonl");
    for (int i = 0; i < kRows; ++i) {
      rows << fmt::format("{{\"text\": \"row {}\"}}\n", i);
    }
    if (chats) {
      rows
          << R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})"
          << "\n";
    }
    rows.close();
    for (const char* way : {"", "--dataset_order windowed"}) {
      train(fmt::format("--save_strategy no {}", way));
      EXPECT_EQ(fs::exists(folder_ / "out/chat_template.jinja"), chats) << way;
      fs::remove_all(folder_ / "out");
    }
  }
}

}  // namespace
}  // namespace sft
