#include "report/history/run_history.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "core/file.h"
#include "report/history/run_follower.h"
#include "support/temporary_folder.h"

namespace sft {
namespace {

constexpr const char* kRun =
    R"({"k":"run","t":1000,"id":"r1","config":{"max_grad_norm":1.0},"total_steps":9})";

TEST(RunHistory, RowsAreColumnsWhateverTheOrderOfTheirKeys) {
  RunHistory run;
  run.add(kRun);
  run.add(R"({"k":"log","t":1001,"step":1,"loss":2.5,"grad_norm":0.5})");
  run.add(R"({"k":"log","t":1002,"step":2,"grad_norm":0.25,"extra":7,"loss":2.0})");
  run.add(R"({"step":3,"k":"log","t":1003,"loss":1.5})");
  run.settle();
  ASSERT_EQ(run.logs().rows(), 3u);
  const auto loss = run.logs().column("loss");
  EXPECT_EQ(std::vector<double>(loss.begin(), loss.end()), (std::vector<double>{2.5, 2.0, 1.5}));
  EXPECT_EQ(run.logs().column("grad_norm")[1], 0.25);
  EXPECT_TRUE(std::isnan(run.logs().column("grad_norm")[2]));
  EXPECT_TRUE(std::isnan(run.logs().column("extra")[0]));
  EXPECT_EQ(run.logs().column("extra")[1], 7);
  EXPECT_EQ(run.last_step(), 3);
  EXPECT_EQ(run.total_steps(), 9);
  EXPECT_EQ(run.unreadable(), 0);
}

TEST(RunHistory, NotFiniteValuesAreKeptAsWhatTheyAre) {
  RunHistory run;
  run.add(R"({"k":"log","t":1,"step":4,"loss":null,"grad_norm":1.0,"nonfinite":["loss"]})");
  run.settle();
  ASSERT_EQ(run.not_finite().size(), 1u);
  EXPECT_EQ(run.not_finite()[0].step, 4);
  EXPECT_EQ(run.not_finite()[0].name, "loss");
  EXPECT_TRUE(std::isnan(run.logs().column("loss")[0]));
}

TEST(RunHistory, StepsDoneAgainReplaceThoseOfTheBrokenRun) {
  RunHistory run;
  run.add(kRun);
  for (int step = 1; step <= 5; ++step) {
    run.add(fmt::format(R"({{"k":"log","t":{},"step":{},"loss":{}}})", 1000 + step, step, step));
  }
  run.add(R"({"k":"run","t":2000,"id":"r1","resumed_from":"out/checkpoint-3","step":3})");
  run.add(R"({"k":"log","t":2001,"step":4,"loss":40})");
  run.settle();
  const auto loss = run.logs().column("loss");
  EXPECT_EQ(std::vector<double>(loss.begin(), loss.end()), (std::vector<double>{1, 2, 3, 40}));
  ASSERT_EQ(run.events().size(), 1u);
  EXPECT_EQ(run.events()[0].text, "resumed from out/checkpoint-3; steps 4 to 5 are done again");
}

TEST(RunHistory, AnotherRunInTheFolderBeginsAnew) {
  RunHistory run;
  run.add(kRun);
  run.add(R"({"k":"log","t":1001,"step":7,"loss":2.5})");
  run.add(R"({"k":"end","t":1002,"status":"done"})");
  run.add(R"({"k":"run","t":2000,"id":"r2"})");
  run.settle();
  EXPECT_TRUE(run.logs().empty());
  EXPECT_TRUE(run.end().is_null());
  EXPECT_EQ(run.about().at("id"), "r2");
}

TEST(RunHistory, LinesThatCannotBeReadAreCountedAndNothingElse) {
  RunHistory run;
  for (const char* line : {"{\"k\":\"log\",\"step\":1,", "[]", "{\"k\":\"log\",\"step\":1e300}",
                           "x", "{\"k\":\"log\"} trailing"}) {
    run.add(line);
  }
  EXPECT_EQ(run.unreadable(), 5);
  run.add(R"({"k":"something new","t":3})");
  run.add("");
  EXPECT_EQ(run.unreadable(), 5);
}

class RunFollowerTest : public testing::Test {
 protected:
  void append(const std::string& text) {
    std::ofstream(folder_.path() / "metrics.jsonl", std::ios::app) << text;
  }
  TemporaryFolder folder_{"run_follower"};
};

TEST_F(RunFollowerTest, TakesInWholeLinesAloneAndEachOnce) {
  RunFollower follower(folder_.path());
  EXPECT_FALSE(follower.poll());
  append(R"({"k":"log","t":1,"step":1,"loss":3})"
         "\n{\"k\":\"log\",\"t\":2,");
  EXPECT_TRUE(follower.poll());
  EXPECT_EQ(follower.history().logs().rows(), 1u);
  EXPECT_FALSE(follower.poll());
  append("\"step\":2,\"loss\":2}\n");
  EXPECT_TRUE(follower.poll());
  EXPECT_FALSE(follower.poll());
  EXPECT_EQ(follower.history().logs().rows(), 2u);
  EXPECT_EQ(follower.history().logs().column("loss")[1], 2);
  EXPECT_EQ(follower.history().unreadable(), 0);
}

TEST_F(RunFollowerTest, AHalfLineThatWasDroppedLeavesNoTrace) {
  RunFollower follower(folder_.path());
  append("{\"k\":\"log\",\"t\":1,\"step\":1,\"loss\":3}\n{\"k\":\"log\",\"t\":2,\"st");
  follower.poll();
  fs::resize_file(folder_.path() / "metrics.jsonl", follower.offset());
  append("{\"k\":\"log\",\"t\":2,\"step\":2,\"loss\":2.5}\n");
  follower.poll();
  EXPECT_EQ(follower.history().logs().rows(), 2u);
  EXPECT_EQ(follower.history().unreadable(), 0);
}

TEST_F(RunFollowerTest, ReadsInPiecesWhatItReadsAtOnce) {
  std::string text;
  for (int i = 0; i < 2000; ++i) {
    text += fmt::format("{{\"k\":\"log\",\"t\":{},\"step\":{},\"loss\":{}}}\n", i, i, i * 0.5);
  }
  append(text);
  RunFollower pieces(folder_.path()), whole(folder_.path());
  while (pieces.poll(777) || pieces.has_more()) {
  }
  whole.read_all();
  const auto a = pieces.history().logs().column("loss"), b = whole.history().logs().column("loss");
  EXPECT_EQ(a.size(), 2000u);
  EXPECT_TRUE(std::ranges::equal(a, b));
  EXPECT_EQ(pieces.history().unreadable(), 0);
}

TEST_F(RunFollowerTest, AFileThatWasReplacedIsReadAnew) {
  append("{\"k\":\"log\",\"t\":1,\"step\":1,\"loss\":3}\n");
  RunFollower follower(folder_.path());
  follower.poll();
  fs::rename(folder_.path() / "metrics.jsonl", folder_.path() / "old");
  append("{\"k\":\"log\",\"t\":1,\"step\":9,\"loss\":1}\n");
  EXPECT_TRUE(follower.poll());
  EXPECT_EQ(follower.history().last_step(), 9);
  EXPECT_EQ(follower.history().logs().rows(), 1u);
}

TEST_F(RunFollowerTest, AFolderThatTrlMadeShowsItsLog) {
  fs::create_directories(folder_.path() / "checkpoint-2");
  fs::create_directories(folder_.path() / "checkpoint-10");
  // The newest one counts, by its number and not by its name.
  std::ofstream(folder_.path() / "checkpoint-2" / "trainer_state.json") << R"({"max_steps":3})";
  std::ofstream(folder_.path() / "checkpoint-10" / "trainer_state.json")
      << R"({"global_step":10,"max_steps":20,"log_history":[{"loss":2.0,"step":5},)"
         R"({"eval_loss":1.9,"step":5},{"loss":1.5,"step":10}]})";
  EXPECT_TRUE(is_run_folder(folder_.path()));
  RunFollower follower(folder_.path());
  EXPECT_TRUE(follower.poll());
  EXPECT_FALSE(follower.poll());
  EXPECT_EQ(follower.history().logs().rows(), 2u);
  EXPECT_EQ(follower.history().evals().column("eval_loss")[0], 1.9);
  EXPECT_EQ(follower.history().total_steps(), 20);
  EXPECT_EQ(follower.history().last_step(), 10);
}

TEST_F(RunFollowerTest, AFolderWithoutARunIsNone) {
  EXPECT_FALSE(is_run_folder(folder_.path()));
  EXPECT_FALSE(is_run_folder(folder_.path() / "nowhere"));
}

}  // namespace
}  // namespace sft
