#include "report/run_log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "core/error.h"
#include "core/strings.h"
#include "report/python_repr.h"

namespace sft {
namespace {

class RunLogTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fs::path("sft_run_log_" + std::to_string(getpid()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  RunLog::Setup setup() {
    return {folder_, [this](std::string_view line) { console_.emplace_back(line); },
            [this] { return clock_ += 1.0; }};
  }
  std::vector<Json> metrics() const {
    std::vector<Json> lines;
    std::vector<std::string> text = split(read_text(folder_ / "metrics.jsonl"), '\n');
    EXPECT_EQ(text.back(), "");  // the file ends with a newline
    text.pop_back();
    for (const std::string& line : text) {
      lines.push_back(Json::parse(line));
    }
    return lines;
  }

  fs::path folder_;
  std::vector<std::string> console_;
  double clock_ = 1000.0;
};

TrainLog some_log() {
  TrainLog v;
  v.loss = 7.990595817565918;
  v.grad_norm = 1.9277427196502686;
  v.learning_rate = 2e-5;
  v.entropy = 6.579805374145508;
  v.num_tokens = 1133;
  v.mean_token_accuracy = 0.0017714791465550661;
  v.tokens_per_s = 1234.5;
  return v;
}

TEST_F(RunLogTest, ConsoleIsTransformers4s) {
  RunLog log(setup());
  log.state().global_step = 1;
  log.state().epoch = 0.0166666;
  log.log(some_log());
  log.eval({.loss = 2.5,
            .runtime = 1.23456,
            .samples = 10,
            .batches = 3,
            .entropy = 1.5,
            .num_tokens = 1133,
            .mean_token_accuracy = 0.5});
  log.state().total_flos = 1e12;
  log.finish({.runtime = 2.0, .samples = 64, .steps = 16, .train_loss = 7.428348988294601});
  ASSERT_EQ(console_.size(), 3u);
  EXPECT_EQ(console_[0],
            "{'loss': 7.9906, 'grad_norm': 1.9277427196502686, 'learning_rate': 2e-05, 'entropy': "
            "6.579805374145508, 'num_tokens': 1133.0, 'mean_token_accuracy': "
            "0.0017714791465550661, 'epoch': 0.02}");
  EXPECT_EQ(console_[1],
            "{'eval_loss': 2.5, 'eval_runtime': 1.2346, 'eval_samples_per_second': 8.1, "
            "'eval_steps_per_second': 2.43, 'eval_entropy': 1.5, 'eval_num_tokens': 1133.0, "
            "'eval_mean_token_accuracy': 0.5, 'epoch': 0.02}");
  EXPECT_EQ(console_[2],
            "{'train_runtime': 2.0, 'train_samples_per_second': 32.0, 'train_steps_per_second': "
            "8.0, 'train_loss': 7.428348988294601, 'epoch': 0.02}");
}

TEST_F(RunLogTest, StateHasTheFullLogSorted) {
  RunLog log(setup());
  log.state().global_step = 3;
  log.state().max_steps = 3;
  log.state().epoch = 1.0;
  log.log(some_log());
  log.finish({.runtime = 1.0, .samples = 1, .steps = 3, .train_loss = 1.0});
  const std::string text = read_text(folder_ / "trainer_state.json");
  EXPECT_TRUE(text.starts_with("{\n  \"best_global_step\": null,\n  \"best_metric\": null,\n"));
  EXPECT_TRUE(text.ends_with("  \"trial_params\": null\n}\n"));
  const Json state = Json::parse(text);
  std::string before;
  for (const auto& [key, value] : state.items()) {
    EXPECT_LT(before, key);
    before = key;
  }
  EXPECT_EQ(state.size(), 20u);
  ASSERT_EQ(state["log_history"].size(), 2u);
  EXPECT_EQ(state["log_history"][0]["loss"], 7.990595817565918);
  EXPECT_EQ(state["log_history"][0]["epoch"], 1.0);
  EXPECT_EQ(state["log_history"][0]["step"], 3);
  EXPECT_TRUE(state["log_history"][1].contains("total_flos"));
  EXPECT_EQ(state["stateful_callbacks"]["TrainerControl"]["args"]["should_training_stop"], true);
}

TEST_F(RunLogTest, StateReadsBack) {
  TrainerState state;
  state.global_step = 7;
  state.epoch = 0.5;
  state.best_metric = 1.25;
  state.best_global_step = 5;
  state.eval_steps = 2;
  state.log_history.push_back({{"loss", 1.5}, {"step", 7}});
  const TrainerState back = TrainerState::parse(Json::parse(state.text()), "x");
  EXPECT_EQ(back.text(), state.text());
  EXPECT_THROW(TrainerState::parse(Json::parse(R"({"epoch": 1})"), "x"), Error);
  EXPECT_THROW(TrainerState::parse(Json::parse(R"({"global_step": "a", "log_history": []})"), "x"),
               Error);
  EXPECT_THROW(TrainerState::parse(Json::parse(R"([])"), "x"), Error);
}

TEST_F(RunLogTest, MetricsHaveTheirKinds) {
  RunLog log(setup());
  log.start("f00d", {{"argv", {"sft"}}, {"config", {{"seed", 42}}}});
  log.state().global_step = 1;
  log.log(some_log());
  log.time({.data = 0.1, .fwd_bwd = 0.5});
  log.event("warn", Code("X010"), "loss spike", "look at row 3");
  log.end(RunStatus::done);
  const auto lines = metrics();
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(lines[0]["k"], "run");
  EXPECT_EQ(lines[0]["id"], "f00d");
  EXPECT_EQ(lines[0]["started"], "1970-01-01T00:16:42Z");
  EXPECT_EQ(lines[0]["config"]["seed"], 42);
  EXPECT_FALSE(lines[0].contains("resumed_from"));
  EXPECT_EQ(lines[1]["k"], "log");
  EXPECT_EQ(lines[1]["step"], 1);
  EXPECT_EQ(lines[1]["tokens_per_s"], 1234.5);
  EXPECT_FALSE(lines[1].contains("nonfinite"));
  EXPECT_EQ(lines[2]["fwd_bwd_s"], 0.5);
  EXPECT_EQ(lines[3]["hint"], "look at row 3");
  EXPECT_EQ(lines[4]["status"], "done");
}

TEST_F(RunLogTest, NumbersThatAreNotFiniteAreNullAndNamed) {
  RunLog log(setup());
  TrainLog v = some_log();
  v.loss = std::numeric_limits<double>::quiet_NaN();
  v.grad_norm = std::numeric_limits<double>::infinity();
  log.log(v);
  EXPECT_TRUE(console_[0].starts_with("{'loss': nan, 'grad_norm': inf,"));
  const Json line = metrics()[0];
  EXPECT_TRUE(line["loss"].is_null());
  EXPECT_EQ(line["nonfinite"], Json({"loss", "grad_norm"}));
  EXPECT_TRUE(Json::parse(log.state().text())["log_history"][0]["loss"].is_null());
}

TEST_F(RunLogTest, ResumingGoesOnAfterAHalfLine) {
  {
    RunLog log(setup());
    log.start("f00d", Json::object());
  }
  std::ofstream(folder_ / "metrics.jsonl", std::ios::app) << R"({"k":"log","st)";
  RunLog log(setup());
  log.state().global_step = 10;
  log.start("f00d", Json::object(), "out/checkpoint-10");
  const auto lines = metrics();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[1]["resumed_from"], "out/checkpoint-10");
  EXPECT_EQ(lines[1]["step"], 10);
}

TEST_F(RunLogTest, AFolderThatCannotBeWrittenIsAnError) {
  auto bad = setup();
  std::ofstream(folder_ / "file") << "in the way";
  bad.output_dir = folder_ / "file" / "out";
  EXPECT_THROW(RunLog{bad}, Error);
}

TEST(MetricValue, IsFoundByEitherName) {
  const Json values{{"eval_loss", 1.5}, {"epoch", 1.0}};
  EXPECT_EQ(metric_value(values, "loss"), 1.5);
  EXPECT_EQ(metric_value(values, "eval_loss"), 1.5);
  EXPECT_THROW(metric_value(values, "accuracy"), Error);
}

TEST(PythonRepr, Dicts) {
  EXPECT_EQ(
      python_repr(Json{{"a", 1}, {"b", nullptr}, {"c", true}, {"d", "it's"}, {"e", {1, 2.0}}}),
      "{'a': 1, 'b': None, 'c': True, 'd': \"it's\", 'e': [1, 2.0]}");
}

TEST(Interval, SharesRoundUp) {
  EXPECT_EQ(interval_steps(10, 100), 10);
  EXPECT_EQ(interval_steps(0.1, 95), 10);
  EXPECT_EQ(interval_steps(0.001, 10), 1);
}

}  // namespace
}  // namespace sft
