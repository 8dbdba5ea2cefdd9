#include "report/page/page.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <regex>

#include "core/file.h"
#include "report/page/report_files.h"
#include "report/page/run_facts.h"
#include "support/temporary_folder.h"

namespace sft {
namespace {

// A run of 40 steps with two evaluations, a spike, a card and a save.
RunHistory some_run(const std::string& more = "") {
  RunHistory run;
  run.add(
      R"({"k":"run","t":1000,"id":"r1","host":"h","argv":["--output_dir","a b"],"total_steps":80,)"
      R"("config":{"max_grad_norm":1.0,"learning_rate":0.001,"output_dir":"a b"},)"
      R"("devices":["A card"],"model":{"name":"<b>m</b>","parameters":5}})");
  for (int i = 1; i <= 40; ++i) {
    run.add(fmt::format(
        R"({{"k":"log","t":{},"step":{},"loss":{},"grad_norm":{},"learning_rate":0.001,)"
        R"("tokens_per_s":1000,"step_s":0.5,"mfu":0.25}})",
        1000 + i, i, 4.0 - 0.05 * i, i % 2 == 0 ? 2.0 : 0.5));
    run.add(fmt::format(R"({{"k":"time","t":{},"step":{},"steps":1,"data_s":0.1,"fwd_bwd_s":0.3,)"
                        R"("opt_s":0.1,"comm_s":0,"copy_s":0,"eval_s":0,"save_s":0,"host_s":0}})",
                        1000 + i, i));
    run.add(fmt::format(
        R"({{"k":"dev","t":{},"step":{},"device":0,"mem_used":1e9,"mem_total":8e9,"power_w":360,)"
        R"("power_limit_w":700,"temp_c":60,"util":98,"throttle":0}})",
        1000 + i, i));
  }
  run.add(R"({"k":"eval","t":1020,"step":20,"eval_loss":3.5})");
  run.add(R"({"k":"eval","t":1040,"step":40,"eval_loss":3.6})");
  run.add(R"({"k":"event","t":1030,"step":30,"level":"warn","code":"","text":"loss 9 stands out: )"
          R"(train.jsonl:12","event":"spike"})");
  run.add(
      R"({"k":"sample","t":1020,"step":0,"index":0,"prompt":"2+2?","text":"no","reference":"4"})");
  run.add(
      R"({"k":"sample","t":1040,"step":40,"index":0,"prompt":"2+2?","text":"4","reference":"4"})");
  if (!more.empty()) {
    run.add(more);
  }
  run.settle();
  return run;
}

std::string report_of(const RunHistory& run) {
  const ShownRun one{"run", &run};
  PageView view;
  view.now = 1041;
  return page_document({&one, 1}, view);
}

TEST(RunFacts, TimeEnergyAndCostFollowFromTheRows) {
  const RunFacts f = facts_of(some_run(), 1040, 36.0);
  EXPECT_EQ(f.status, "running");
  EXPECT_EQ(f.step, 40);
  EXPECT_EQ(f.total, 80);
  EXPECT_DOUBLE_EQ(f.elapsed_s, 40);
  EXPECT_NEAR(*f.left_s, 40, 1e-9);              // a step a second
  EXPECT_NEAR(*f.kwh, 360 * 39 / 3.6e6, 1e-12);  // 39 s between the first sample and the last
  EXPECT_NEAR(*f.kwh_left, 360 * 40 / 3.6e6, 1e-12);
  EXPECT_NEAR(*f.cost, 0.4, 1e-12);
  EXPECT_NEAR(*f.cost_left, 0.4, 1e-12);
  EXPECT_EQ(f.best_step, 20);
  EXPECT_EQ(f.evals_since_best, 1);
  EXPECT_EQ(f.mfu, 0.25);
}

TEST(RunFacts, ARunEndsAsItsLastLineSays) {
  EXPECT_EQ(facts_of(some_run(), 1040 + 3600, {}).status, "silent");
  const RunFacts failed = facts_of(
      some_run(R"({"k":"end","t":1041,"status":"failed","code":"G001","text":"no memory"})"), 9e9,
      {});
  EXPECT_EQ(failed.status, "failed");
  EXPECT_EQ(failed.why, "no memory");
  EXPECT_FALSE(failed.left_s);
}

TEST(RunFacts, ActivitiesAddUpToTheTimeOfTheSteps) {
  const TimeSplit split = time_split(some_run(), 0);
  EXPECT_NEAR(split.seconds, 40 * 0.5, 1e-9);
  EXPECT_EQ(split.steps, 40);
  double sum = 0;
  for (const Activity& a : split.activities) {
    sum += a.seconds;
  }
  EXPECT_DOUBLE_EQ(sum, split.seconds);
  EXPECT_NEAR(time_split(some_run(), 10).seconds, 5, 1e-9);
}

TEST(RunCharts, TheirSentencesAreComputedFromTheRows) {
  const RunHistory run = some_run();
  const ShownRun one{"run", &run};
  const auto charts = charts_of({&one, 1});
  ASSERT_GE(charts.size(), 5u);
  EXPECT_EQ(charts[0].sentence,
            "Loss fell from 3.875 to 2.075 (means of the first and the last tenth). The best "
            "evaluation is 3.5 at step 20; the one since is not better: that checkpoint is the one "
            "to keep. 1 spike.");
  EXPECT_EQ(charts[1].sentence,
            "Median 2, largest 2 at step 2. Clipped to 1 in 50 % of the steps that were logged.");
  EXPECT_EQ(charts[1].level, 1.0);
}

TEST(Page, AReportNeedsNothingElse) {
  const std::string page = report_of(some_run());
  for (const char* outside : {"src=", "href=", "url(", "@import", "http://", "https://"}) {
    EXPECT_EQ(page.find(outside), std::string::npos) << outside;
  }
  EXPECT_NE(page.find("<svg class=\"chart\""), std::string::npos);
}

TEST(Page, TextOfARunIsNeverMarkup) {
  RunHistory run = some_run(
      R"({"k":"sample","t":1,"step":1,"index":3,"prompt":"<script>x</script>","text":"</pre><img>"})");
  const std::string page = report_of(run);
  EXPECT_EQ(page.find("<script>x"), std::string::npos);
  EXPECT_EQ(page.find("<img"), std::string::npos);
  EXPECT_NE(page.find("&lt;b&gt;m&lt;/b&gt;"), std::string::npos);
}

TEST(Page, ShowsWhatHappenedSamplesAndWhereTimeGoes) {
  const std::string page = report_of(some_run());
  EXPECT_NE(page.find("train.jsonl:12"), std::string::npos);
  EXPECT_NE(page.find("2+2?"), std::string::npos);
  EXPECT_NE(page.find("forward and backward<td data-ms=\"300\""), std::string::npos) << page;
  EXPECT_NE(page.find("&#39;a b&#39;"), std::string::npos);  // the command, quoted for a shell
  // What differs from the defaults stands before what does not.
  EXPECT_LT(page.find("<td>learning_rate<td>0.001"), page.find("<summary>the others"));
  EXPECT_GT(page.find("<td>max_grad_norm<td>1.0"), page.find("<summary>the others"));
}

TEST(Page, SeveralRunsShareChartsAndShowWhatDiffers) {
  const RunHistory a = some_run();
  RunHistory b;
  b.add(R"({"k":"run","t":1000,"id":"r2","config":{"max_grad_norm":1.0,"learning_rate":0.5}})");
  b.add(R"({"k":"log","t":1001,"step":1,"loss":7})");
  b.settle();
  const ShownRun runs[] = {{"first", &a}, {"second", &b}};
  PageView view;
  view.now = 1041;
  const std::string page = page_document(runs, view);
  EXPECT_NE(page.find("data-line=\"first\""), std::string::npos);
  EXPECT_NE(page.find("data-line=\"second\""), std::string::npos);
  EXPECT_NE(page.find("<tr><td>learning_rate<td>0.001<td>0.5"), std::string::npos);
  EXPECT_EQ(page.find("<tr><td>max_grad_norm"), std::string::npos);
}

TEST(Page, StaysSmallHoweverLongTheRun) {
  RunHistory run;
  for (int i = 0; i < 100000; ++i) {
    run.add(fmt::format(R"({{"k":"log","t":{0},"step":{0},"loss":{1},"grad_norm":{1},)"
                        R"("learning_rate":{1},"tokens_per_s":{1},"step_s":{1}}})",
                        i, 1 + (i * 7919 % 1000) * 0.001));
  }
  run.settle();
  EXPECT_LT(report_of(run).size(), 400'000u);
}

TEST(ReportFiles, AreMadeOfAFolderAlone) {
  const TemporaryFolder folder("report_files");
  std::ofstream(folder.path() / "metrics.jsonl")
      << R"({"k":"run","t":1,"id":"r"})" << "\n"
      << R"({"k":"log","t":2,"step":1,"loss":2})" << "\n";
  RunFollower run(folder.path());
  write_report(run, 3);
  const std::string report = read_text(folder.path() / kReportFile);
  EXPECT_NE(report.find("data-line=\"training\""), std::string::npos);
  const std::string picture = read_text(folder.path() / kLossPicture);
  EXPECT_TRUE(picture.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\"")) << picture;
  write_report(run, 3);
  EXPECT_EQ(read_text(folder.path() / kReportFile), report);
}

}  // namespace
}  // namespace sft
