#include "optim/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "optim/metric_schedule.h"
#include "support/paths.h"

namespace sft {
namespace {

Json golden() { return read_json(SFT_TEST_DIR "/optim/golden/schedules.json"); }

std::string error_code(const std::string& name, const Json& kwargs) {
  try {
    make_schedule(name, {1e-3, 2, 10, kwargs});
  } catch (const Error& error) {
    return std::string(error.code().text());
  }
  return "";
}

TEST(Schedule, EqualsTransformers) {
  const Json file = golden();
  for (const Json& c : file["schedules"]) {
    const Schedule schedule =
        make_schedule(c["name"], {file["learning_rate"], c["warmup"], c["total"], c["kwargs"]});
    for (size_t step = 0; step < c["factors"].size(); ++step) {
      EXPECT_NEAR(schedule(static_cast<int64_t>(step)), c["factors"][step].get<double>(), 1e-12)
          << c["name"] << " " << c["kwargs"] << " step " << step;
    }
  }
}

TEST(Schedule, EveryNameIsInTheGoldenFile) {
  std::set<std::string> seen{"reduce_lr_on_plateau", "greedy"};
  const Json file = golden();
  for (const Json& c : file["schedules"]) {
    seen.insert(c["name"].get<std::string>());
  }
  const std::vector<std::string> names = schedule_names();
  EXPECT_EQ(seen, std::set<std::string>(names.begin(), names.end()));
}

TEST(Schedule, PlateauEqualsTorch) {
  const Json file = golden();
  for (const Json& c : file["plateau"]) {
    PlateauState state(file["learning_rate"], c["kwargs"]);
    PlateauState resumed(file["learning_rate"], c["kwargs"]);
    for (size_t i = 0; i < c["rates"].size(); ++i) {
      const double metric = file["plateau_metrics"][i];
      read_state(resumed, write_state(state), {"x"});
      EXPECT_NEAR(state.step(metric), c["rates"][i].get<double>(), 1e-15) << c["kwargs"] << i;
      EXPECT_EQ(resumed.step(metric), state.learning_rate()) << c["kwargs"] << i;
    }
  }
}

TEST(Schedule, GreedyEqualsTransformers) {
  const Json file = golden();
  for (const Json& c : file["greedy"]) {
    GreedyState state(file["learning_rate"], c["kwargs"]);
    GreedyState resumed(file["learning_rate"], c["kwargs"]);
    for (size_t i = 0; i < c["rates"].size(); ++i) {
      const double metric = file["plateau_metrics"][i];
      read_state(resumed, write_state(state), {"x"});
      EXPECT_EQ(state.step(metric), c["rates"][i].get<double>()) << c["kwargs"] << i;
      EXPECT_EQ(resumed.step(metric), state.learning_rate()) << c["kwargs"] << i;
    }
  }
}

TEST(Schedule, BadArgumentsAreNamed) {
  EXPECT_EQ(error_code("cosin", nullptr), "C100");
  EXPECT_EQ(error_code("linear", {{"num_cycles", 1}}), "C101");
  EXPECT_EQ(error_code("cosine", {{"num_cycle", 1}}), "C101");
  EXPECT_EQ(error_code("cosine", {{"num_cycles", "many"}}), "C102");
  EXPECT_EQ(error_code("cosine", Json::array({1})), "C102");
  EXPECT_EQ(error_code("polynomial", {{"lr_end", 1}}), "C102");
  EXPECT_EQ(error_code("cosine_with_min_lr", nullptr), "C103");
  EXPECT_EQ(error_code("cosine_with_min_lr", {{"min_lr", 0}, {"min_lr_rate", 0}}), "C102");
  EXPECT_EQ(error_code("warmup_stable_decay", nullptr), "C103");
  EXPECT_EQ(error_code("warmup_stable_decay", {{"num_decay_steps", 1.5}}), "C102");
  EXPECT_EQ(error_code("warmup_stable_decay", {{"num_decay_steps", 1}, {"decay_type", "x"}}),
            "C102");
  EXPECT_EQ(error_code("reduce_lr_on_plateau", {{"patience", -1}}), "C102");
  EXPECT_EQ(error_code("reduce_lr_on_plateau", {{"factor", 1.0}}), "C102");
  EXPECT_EQ(error_code("reduce_lr_on_plateau", {{"patient", 1}}), "C101");
  EXPECT_EQ(error_code("reduce_lr_on_plateau", {{"patience", 1}}), "");
  EXPECT_EQ(error_code("greedy", {{"factor", 1.5}}), "C102");
  EXPECT_EQ(error_code("greedy", {{"smooth", 1}}), "C102");
  EXPECT_EQ(error_code("greedy", {{"window_size", 0}}), "C102");
  EXPECT_EQ(error_code("greedy", {{"min_lr", Json::array({0.1})}}), "C102");
  EXPECT_EQ(error_code("greedy", {{"warm", 1}}), "C101");
  EXPECT_EQ(error_code("greedy", {{"warmup", 1}, {"verbose", true}}), "");
}

TEST(Schedule, WarmupCountsAsInTransformers) {
  EXPECT_EQ(warmup_step_count(0, 0, 100), 0);
  EXPECT_EQ(warmup_step_count(7, 0, 100), 7);
  EXPECT_EQ(warmup_step_count(0.03, 0, 101), 4);  // ceil(3.03)
  EXPECT_EQ(warmup_step_count(0, 0.1, 10), 1);
  EXPECT_EQ(warmup_step_count(0, 0.1, 11), 2);
  EXPECT_EQ(warmup_step_count(5, 0.5, 100), 5);  // steps win over the ratio
}

}  // namespace
}  // namespace sft
