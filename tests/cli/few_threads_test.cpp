// What happens where the system gives fewer threads than are asked for, down to none: every command
// ends well, or in an error with a code. It never aborts and never waits for a thread that is not.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "cli/run_sft.h"
#include "support/paths.h"

namespace sft {
namespace {

constexpr const char* kModel = SFT_TEST_DIR "/golden/models/chatml";
const fs::path kFewThreads = fs::path(SFT_BINARY).parent_path() / "tests/cli/libfew_threads.so";

class FewThreads : public ::testing::Test {
 protected:
  FewThreads() { fs::remove_all(folder_); }
  ~FewThreads() override { fs::remove_all(folder_); }

  std::string train(const std::string& more) const {
    return fmt::format(
        "--model_name_or_path {} --dataset_name {}/golden/data/pairs --output_dir {} --max_steps 3 "
        "--save_steps 1 --eval_strategy steps --eval_steps 2 --use_cpu {}",
        kModel, SFT_TEST_DIR, (folder_ / "out").string(), more);
  }
  // Ends a program that waits for ever.
  static RunResult limited(int threads, const std::string& arguments) {
    return run_sft(arguments, fmt::format("FEW_THREADS={} LD_PRELOAD={} timeout 60", threads,
                                          kFewThreads.string()));
  }
  static void expect_in_order(const RunResult& run, int threads) {
    EXPECT_TRUE(run.code == 0 || run.code == 5) << threads << ": " << run.code << '\n' << run.err;
    EXPECT_EQ(run.code == 5, run.err.find("error[G030]") != std::string::npos) << threads << '\n'
                                                                               << run.err;
    EXPECT_EQ(run.err.find("error[X"), std::string::npos) << run.err;
  }

  const fs::path folder_ =
      fs::path(::testing::TempDir()) / fmt::format("sft_few_threads_{}", ::getpid());
};

TEST_F(FewThreads, training_goes_on_with_those_that_there_are) {
  int trained = 0;
  for (int threads = 0; threads <= 8; ++threads) {
    const RunResult run = limited(threads, train("--threads 4"));
    expect_in_order(run, threads);
    trained += run.code == 0 ? 1 : 0;
    if (run.code == 0 && threads <= 3) {
      EXPECT_NE(run.err.find("of 4 threads"), std::string::npos) << run.err;
    }
    fs::remove_all(folder_);
  }
  EXPECT_GE(trained, 7);  // the thread of signals alone cannot be done without
}

TEST_F(FewThreads, the_results_are_those_of_one_thread) {
  const auto weights = [&](const std::string& how, int threads) {
    const RunResult run = limited(threads, train(how));
    EXPECT_EQ(run.code, 0) << run.err;
    const std::string text = read_text(folder_ / "out/model.safetensors");
    fs::remove_all(folder_);
    return text;
  };
  EXPECT_EQ(weights("--threads 4", 1), weights("--threads 1", 1000));
}

TEST_F(FewThreads, two_thousand_are_too_many_and_that_is_said) {
  const RunResult run = limited(40, train("--threads 2000"));
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_NE(run.err.find("of 2000 threads"), std::string::npos) << run.err;
}

TEST_F(FewThreads, other_commands_too) {
  for (int threads = 0; threads <= 3; ++threads) {
    expect_in_order(limited(threads, fmt::format("inspect --model_name_or_path {} --dataset_name "
                                                 "{}/golden/data/pairs --threads 4 --stats",
                                                 kModel, SFT_TEST_DIR)),
                    threads);
    expect_in_order(limited(threads, fmt::format("generate --model {} --threads 4 --use_cpu "
                                                 "--max_new_tokens 2 a",
                                                 kModel)),
                    threads);
    expect_in_order(limited(threads, fmt::format("tokenize --model {} --threads 4 --file "
                                                 "{}/golden/data/text/train.jsonl",
                                                 kModel, SFT_TEST_DIR)),
                    threads);
    expect_in_order(limited(threads, "config --threads 4"), threads);
  }
}

TEST_F(FewThreads, ranks_end_together_whichever_lacks_a_thread) {
  for (int threads = 0; threads <= 8; ++threads) {
    const RunResult run =
        limited(threads, "launch --nproc_per_node 2 " + train("--threads 2 --ddp_timeout 20"));
    EXPECT_NE(run.code, 124) << threads << '\n' << run.err;  // it was waiting
    EXPECT_LT(run.code, 128) << threads << '\n' << run.err;
    EXPECT_EQ(run.err.find("error[X"), std::string::npos) << run.err;
    EXPECT_EQ(run.err.find("terminate called"), std::string::npos) << run.err;
    fs::remove_all(folder_);
  }
}

}  // namespace
}  // namespace sft
