#include "train/run_state.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "report/trainer_state.h"

namespace sft {
namespace {

// The error's code where it names the field, "taken" where there is none.
template <class Read>
std::string code_of(const std::string& field, Read read) {
  try {
    read();
    return "taken";
  } catch (const Error& error) {
    EXPECT_NE(error.message().find("\"" + field + "\""), std::string::npos) << error.message();
    return error.code();
  }
}

TEST(RunState, EveryNumberHasARange) {
  const Json sound = Json::parse(R"({"step": 3, "updates": 3, "num_tokens": 70, "flos": 1e12,
    "total_loss": 2.5, "skipped": 0, "best_metric": null, "evaluation_left": false,
    "grad_norm": 0.5, "interval": {"loss": 1.5, "steps": 1, "batches": 2, "tokens": 20},
    "scaler": {"scale": 65536.0, "growth_tracker": 1}, "by_metric": null})");
  EXPECT_EQ(code_of("", [&] { check_run_state(sound, "x"); }), "taken");
  for (const char* field : {"step", "updates", "num_tokens", "skipped", "interval.steps",
                            "interval.tokens", "scaler.growth_tracker"}) {
    for (const char* value : {"-1", "3.9", "\"3\"", "true", "9223372036854775807", "1e300", "[]",
                              "18446744073709551615"}) {
      Json state = sound;
      const std::string name = field;
      const size_t dot = name.find('.');
      (dot == std::string::npos ? state[name] : state[name.substr(0, dot)][name.substr(dot + 1)]) =
          Json::parse(value);
      EXPECT_EQ(code_of(name, [&] { check_run_state(state, "x"); }), "M264") << field << value;
    }
  }
  for (const char* value : {"\"x\"", "true", "{}"}) {
    Json state = sound;
    state["flos"] = Json::parse(value);
    EXPECT_EQ(code_of("flos", [&] { check_run_state(state, "x"); }), "M264") << value;
  }
}

TEST(RunState, ItsRunIsNoPath) {
  for (const char* run : {"\"../x\"", "\"/tmp/x\"", "\"..\"", "\"\"", "\"a/b\"", "3", "[]"}) {
    const Json state = {{"run", Json::parse(run)}};
    EXPECT_EQ(code_of("run", [&] { check_run_state(state, "x"); }), "M264") << run;
  }
  EXPECT_EQ(code_of("", [] { check_run_state({{"run", "0123456789abcdef"}}, "x"); }), "taken");
}

TEST(TrainerState, EveryNumberHasARange) {
  const Json sound = Json::parse(R"({"global_step": 3, "log_history": [], "epoch": 0.5})");
  for (const char* field : {"global_step", "max_steps", "num_train_epochs", "save_steps",
                            "train_batch_size", "best_global_step", "num_input_tokens_seen"}) {
    for (const char* value : {"-7", "3.9", "\"3\"", "true", "9223372036854775807", "1e300", "[]",
                              "18446744073709551615"}) {
      Json state = sound;
      state[field] = Json::parse(value);
      EXPECT_EQ(code_of(field, [&] { TrainerState::parse(state, "x"); }), "M011") << field << value;
    }
  }
}

}  // namespace
}  // namespace sft
