#include "train/run_state.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include <fmt/format.h>

#include "core/error.h"
#include "core/file.h"
#include "report/trainer_state.h"

namespace sft {
namespace {

// Of a run that has all there can be: a loss scale, a rate that follows a metric, a drawn order.
RunState full_state(const char* schedule) {
  RunState state;
  state.run = "0123456789abcdef";
  state.scaler.emplace();
  state.by_metric = make_metric_schedule(schedule, 1e-3, Json::object());
  state.loader.random.emplace();
  state.best_saved.emplace();
  state.best_metric = 0.5;
  return state;
}

// Other values than a new state has: a number of its own for each place.
void fill(Json& json, int64_t& next) {
  for (auto& [key, value] : json.items()) {
    if (value.is_object() && key != "identity") {
      fill(value, next);
    } else if (key == "identity") {
      value = {{"steps", next++}};
    } else if (value.is_boolean()) {
      value = true;
    } else if (value.is_string()) {
      value = std::to_string(next++);
    } else if (value.is_array()) {
      value = {static_cast<double>(next++), 0.5};
    } else if (value.is_number_integer() && key != "version") {
      value = next++;
    } else if (value.is_number_float() || key == "best") {
      value = static_cast<double>(next++) + 0.25;
    }
  }
}

// All that lies in it, as paths.
void walk(const Json& json, const std::string& path, std::vector<std::string>& out) {
  for (const auto& [key, value] : json.items()) {
    const std::string here = path + "/" + key;
    out.push_back(here);
    if (value.is_object() && key != "identity") {
      walk(value, here, out);
    }
  }
}

std::string refused(const Json& json, const char* schedule) {
  const fs::path file =
      fs::path(::testing::TempDir()) / fmt::format("sft_run_state_{}.json", ::getpid());
  std::ofstream(file) << to_text(json);
  RunState state = full_state(schedule);
  try {
    read_run_state(state, file);
    return "";
  } catch (const Error& error) {
    return std::string(error.code().text()) + " " + error.message();
  }
}

TEST(RunState, AllThatIsSavedIsReadAgain) {
  for (const char* schedule : {"reduce_lr_on_plateau", "greedy", "linear"}) {
    Json saved = write_state(full_state(schedule));
    int64_t next = 1;
    fill(saved, next);
    RunState state = full_state(schedule);
    read_state(state, saved, {"x"});
    EXPECT_EQ(write_state(state), saved);
    EXPECT_GT(next, 25);
  }
}

TEST(RunState, EverythingInItIsNeededAndOfItsKind) {
  for (const char* schedule : {"reduce_lr_on_plateau", "greedy"}) {
    const Json sound = write_state(full_state(schedule));
    ASSERT_EQ(refused(sound, schedule), "");
    std::vector<std::string> paths;
    walk(sound, "", paths);
    for (const std::string& path : paths) {
      const Json::json_pointer at(path);
      Json state = sound;
      state[at.parent_pointer()].erase(at.back());
      const std::string code = path == "/version" ? "M269" : "M268";
      EXPECT_TRUE(refused(state, schedule).starts_with(code)) << path << " is missing";
      state = sound;
      state[at] = Json::array({"x"});
      const std::string why = refused(state, schedule);
      const bool other = path == (schedule == std::string("greedy") ? "/plateau" : "/greedy");
      EXPECT_EQ(why.starts_with(code), !other) << path << " is a list: " << why;
      if (!other && path != "/version") {
        EXPECT_NE(why.find(at.back()), std::string::npos) << why;
      }
    }
    Json more = sound;
    more["interval"]["more"] = 1;
    EXPECT_NE(refused(more, schedule).find("interval.more"), std::string::npos);
  }
}

TEST(RunState, EveryNumberHasARange) {
  const Json sound = write_state(full_state("greedy"));
  for (const char* field :
       {"/step", "/updates", "/num_tokens", "/skipped", "/losses", "/interval/steps",
        "/interval/losses", "/interval/tokens", "/scaler/growth_tracker", "/loader/cursor/epoch",
        "/loader/rows_done", "/best_saved/step", "/greedy/reset_left"}) {
    for (const char* value : {"-1", "3.9", "\"3\"", "true", "9223372036854775807", "1e300", "[]",
                              "18446744073709551615"}) {
      Json state = sound;
      state[Json::json_pointer(field)] = Json::parse(value);
      EXPECT_TRUE(refused(state, "greedy").starts_with("M268")) << field << value;
    }
  }
  for (const char* value : {"\"x\"", "true", "{}", "null"}) {
    Json state = sound;
    state["flos"] = Json::parse(value);
    EXPECT_TRUE(refused(state, "greedy").starts_with("M268")) << value;
  }
}

TEST(RunState, ItsRunIsNoPath) {
  for (const char* run : {"\"../x\"", "\"/tmp/x\"", "\"..\"", "\"\"", "\"a/b\"", "3", "[]"}) {
    Json state = write_state(full_state("linear"));
    state["run"] = Json::parse(run);
    EXPECT_TRUE(refused(state, "linear").starts_with("M268")) << run;
  }
}

// A rate that follows the metric in another way, a loss scale or none: what the run has begins
// anew.
TEST(RunState, WhatTheRunThatGoesOnDoesNotHaveIsPassedOver) {
  const Json saved = write_state(full_state("greedy"));
  RunState state;
  read_state(state, saved, {"x"});
  EXPECT_FALSE(state.scaler);
  EXPECT_EQ(refused(saved, "reduce_lr_on_plateau"), "");
}

TEST(TrainerState, EveryNumberHasARange) {
  const Json sound = Json::parse(R"({"global_step": 3, "log_history": [], "epoch": 0.5})");
  EXPECT_EQ(TrainerState::parse(sound, "x").global_step, 3);
  for (const char* field : {"global_step", "max_steps", "num_train_epochs", "save_steps",
                            "train_batch_size", "best_global_step", "num_input_tokens_seen"}) {
    for (const char* value : {"-7", "3.9", "\"3\"", "true", "9223372036854775807", "1e300", "[]",
                              "18446744073709551615"}) {
      Json state = sound;
      state[field] = Json::parse(value);
      try {
        TrainerState::parse(state, "x");
        ADD_FAILURE() << field << value;
      } catch (const Error& error) {
        EXPECT_EQ(error.code().text(), "M011");
        EXPECT_NE(error.message().find(fmt::format("\"{}\"", field)), std::string::npos);
      }
    }
  }
  for (const char* needed : {"global_step", "log_history"}) {
    Json state = sound;
    state.erase(needed);
    EXPECT_THROW(TrainerState::parse(state, "x"), Error) << needed;
  }
}

TEST(TrainerState, WhatIsWrittenIsReadAgain) {
  TrainerState state;
  Json saved = Json::parse(state.text());
  int64_t next = 1;
  fill(saved, next);
  for (const char* fixed : {"is_hyper_param_search", "is_local_process_zero",
                            "is_world_process_zero", "stateful_callbacks"}) {
    saved.erase(fixed);
  }
  saved["best_metric"] = 0.5;
  saved["best_global_step"] = 7;
  saved["best_model_checkpoint"] = "checkpoint-7";
  const Json again = Json::parse(TrainerState::parse(saved, "x").text());
  for (const auto& [key, value] : saved.items()) {
    EXPECT_EQ(again[key], value) << key;
  }
}

}  // namespace
}  // namespace sft
