// What a model writes while it is trained, and answers to a file of prompts.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <cmath>

#include "cli/run_sft.h"
#include "core/file_writer.h"
#include "core/json.h"
#include "support/paths.h"
#include "support/temporary_folder.h"
#include "text/answer_scores.h"

namespace sft {
namespace {

const fs::path kRoot = fs::path(SFT_TEST_DIR) / "..";

std::string training(const fs::path& out, const std::string& more) {
  return fmt::format(
      "--model_name_or_path {0}/examples/tiny-model --dataset_name {0}/examples/data/ostrafell "
      "--dataset_test_split train --output_dir {1} --max_steps 4 --logging_steps 1 --learning_rate "
      "1e-2 --per_device_train_batch_size 4 --threads 1 -q {2}",
      kRoot.string(), out.string(), more);
}

std::vector<Json> lines(const fs::path& file, const std::string& kind = "") {
  std::vector<Json> out;
  const std::string text = read_text(file);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    Json line = parse_json(text.substr(begin, end - begin), file.string());
    if (kind.empty() || line["k"] == kind) {
      out.push_back(std::move(line));
    }
    begin = end + 1;
  }
  return out;
}

// What is written at a step, by prompt.
std::vector<std::string> written(const std::vector<Json>& samples, int step) {
  std::vector<std::string> out;
  for (const Json& sample : samples) {
    if (sample["step"] == step) {
      out.push_back(sample["text"].get<std::string>());
    }
  }
  return out;
}

TEST(EvalSamples, AreWrittenBeforeAtEachEvaluationAndScoredAgainstTheData) {
  const TemporaryFolder out("samples");
  const RunResult run =
      run_sft("train " + training(out.path(),
                                  "--eval_strategy steps --eval_steps 2 --eval_samples 5 "
                                  "--eval_max_new_tokens 12 --metric_for_best_model "
                                  "rougeL --per_device_eval_batch_size 2"));
  ASSERT_EQ(run.code, 0) << run.err;
  const std::vector<Json> samples = lines(out.path() / "metrics.jsonl", "sample");
  ASSERT_EQ(samples.size(), 15);
  double best = -1;
  int best_step = 0;
  for (const Json& eval : lines(out.path() / "metrics.jsonl", "eval")) {
    const int step = eval["step"].get<int>();
    double exact = 0, rouge = 0;
    for (const Json& sample : samples) {
      if (sample["step"] == step) {
        const std::string text = sample["text"].get<std::string>();
        const std::string wanted = sample["reference"].get<std::string>();
        exact += is_exact_match(text, wanted) ? 0.2 : 0;
        rouge += rouge_l(text, wanted) / 5;
      }
    }
    EXPECT_NEAR(eval["eval_exact_match"].get<double>(), exact, 1e-12);
    EXPECT_NEAR(eval["eval_rougeL"].get<double>(), rouge, 1e-12);
    if (rouge > best) {
      best = rouge;
      best_step = step;
    }
  }
  const Json state = read_json(out.path() / "trainer_state.json");
  EXPECT_EQ(state["best_global_step"], best_step);
  EXPECT_NE(read_text(out.path() / "report.html").find("What the model writes"), std::string::npos);

  // The saved model writes the same for the same prompts, whatever is answered beside them.
  std::string prompts;
  for (const Json& sample : samples) {
    if (sample["step"] == 0) {
      prompts += sample["prompt"].get<std::string>() + "\n";
    }
  }
  write_text(out.path() / "prompts.txt", prompts);
  const RunResult answers =
      run_sft(fmt::format("generate --model_name_or_path {0} --prompts {0}/prompts.txt --chat "
                          "--batch_size 2 --max_new_tokens 12 --threads 1 -q",
                          out.path().string()));
  ASSERT_EQ(answers.code, 0) << answers.err;
  write_text(out.path() / "answers.jsonl", answers.out);
  const std::vector<Json> answered = lines(out.path() / "answers.jsonl");
  const std::vector<std::string> last = written(samples, 4);
  ASSERT_EQ(answered.size(), last.size());
  for (size_t i = 0; i < last.size(); ++i) {
    EXPECT_EQ(answered[i]["index"], i);
    EXPECT_EQ(answered[i]["text"], last[i]);
  }
}

TEST(EvalSamples, ChangeNoBitOfTheTraining) {
  const TemporaryFolder with("with_samples"), without("without_samples");
  const std::string rhythm = "--eval_strategy steps --eval_steps 2 --neftune_noise_alpha 5 ";
  ASSERT_EQ(run_sft("train " + training(with.path(), rhythm + "--eval_samples 3 --eval_do_sample "
                                                              "--eval_max_new_tokens 6"))
                .code,
            0);
  ASSERT_EQ(run_sft("train " + training(without.path(), rhythm)).code, 0);
  EXPECT_EQ(read_text(with.path() / "model.safetensors"),
            read_text(without.path() / "model.safetensors"));
}

TEST(EvalSamples, RanksShareThePromptsOut) {
  const TemporaryFolder out("samples_of_ranks");
  write_text(out.path() / "prompts.jsonl",
             "{\"prompt\": \"Where is the ferry?\", \"reference\": \"In the harbour.\"}\n"
             "{\"messages\": [{\"role\": \"user\", \"content\": \"Who are you?\"}]}\n"
             "{\"prompt\": \"One\", \"completion\": \"Two\"}\n");
  const std::string more =
      fmt::format("--eval_prompts {}/prompts.jsonl --eval_max_new_tokens 8 --save_strategy no ",
                  out.path().string());
  ASSERT_EQ(run_sft("train " + training(out.path() / "one", more)).code, 0);
  const auto alone = lines(out.path() / "one" / "metrics.jsonl", "sample");
  ASSERT_EQ(alone.size(), 6);  // before training and after
  EXPECT_EQ(alone[0]["reference"], "In the harbour.");
  EXPECT_FALSE(alone[1].contains("reference"));
  for (const int stage : {0, 3}) {
    const fs::path folder = out.path() / fmt::format("stage{}", stage);
    const RunResult run = run_sft("launch --nproc_per_node 2 " +
                                  training(folder, more + fmt::format("--zero_stage {}", stage)));
    ASSERT_EQ(run.code, 0) << run.err;
    EXPECT_EQ(written(lines(folder / "metrics.jsonl", "sample"), 0), written(alone, 0));
  }
}

TEST(EvalSamples, WhatCannotBeAnsweredIsRefusedBeforeTheRun) {
  const TemporaryFolder out("samples_refused");
  const auto error = [&](const std::string& more) {
    const RunResult run = run_sft("train --dry_run " + training(out.path(), more));
    EXPECT_NE(run.code, 0);
    return run.err;
  };
  EXPECT_NE(error("--eval_samples 2").find("C189"), std::string::npos);
  EXPECT_NE(error("--eval_samples 2 --eval_prompts x.txt --eval_strategy epoch").find("C188"),
            std::string::npos);
  EXPECT_NE(error("--eval_strategy epoch --metric_for_best_model exact_match").find("C053"),
            std::string::npos);
  EXPECT_NE(error("--eval_prompts nowhere.txt").find("D001"), std::string::npos);
  write_text(out.path() / "plain.txt", "a question\n");
  EXPECT_NE(error("--eval_strategy epoch --metric_for_best_model exact_match --eval_prompts " +
                  (out.path() / "plain.txt").string())
                .find("D056"),
            std::string::npos);
  write_text(out.path() / "text.jsonl", "{\"text\": \"all of it is trained\"}\n");
  EXPECT_NE(error("--eval_prompts " + (out.path() / "text.jsonl").string()).find("D069"),
            std::string::npos);
}

TEST(Eval, TheLossIsThatOfAnEvaluationWhileTraining) {
  const TemporaryFolder out("eval_loss");
  ASSERT_EQ(run_sft("train " + training(out.path(),
                                        "--eval_strategy steps --eval_steps 4 "
                                        "--assistant_only_loss --bf16 false"))
                .code,
            0);
  const Json wanted = lines(out.path() / "metrics.jsonl", "eval").back();
  const RunResult run = run_sft(fmt::format(
      "eval {} --dataset_name {}/examples/data/ostrafell --split train --assistant_only_loss "
      "--threads 1 -q --json",
      out.path().string(), kRoot.string()));
  ASSERT_EQ(run.code, 0) << run.err;
  const Json found = parse_json(run.out, "sft eval");
  EXPECT_EQ(found["eval_loss"], wanted["eval_loss"]);
  EXPECT_EQ(found["eval_mean_token_accuracy"], wanted["eval_mean_token_accuracy"]);
  EXPECT_NEAR(found["perplexity"].get<double>(), std::exp(found["loss"].get<double>()), 1e-9);
  EXPECT_LT(found["tokens_trained"], 26802);  // those of all turns
}

}  // namespace
}  // namespace sft
