#include "report/trainer_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/numbers.h"

namespace sft {
namespace {

template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

bool has(const Json& json, const char* key) { return json.contains(key) && !json[key].is_null(); }

[[noreturn]] void wrong(const Json& json, const char* key, const std::string& wanted,
                        const std::string& name) {
  throw Error("M011", fmt::format("not a trainer state: \"{}\" is {}, it must be {}", key,
                                  to_text(json[key]).substr(0, 60), wanted))
      .at(name);
}

// Steps, tokens and batches; -1 is transformers' "not said".
int64_t count(const Json& json, const char* key, int64_t otherwise, const std::string& name) {
  constexpr int64_t kMost = int64_t{1} << 53;
  if (!has(json, key)) {
    return otherwise;
  }
  const auto value = json_whole(json[key], -1, kMost);
  if (!value) {
    wrong(json, key, fmt::format("a whole number up to {}", kMost), name);
  }
  return *value;
}

double number(const Json& json, const char* key, double otherwise, const std::string& name) {
  if (!has(json, key)) {
    return otherwise;
  }
  const auto value = json_real(json[key], -1e300, 1e300);
  if (!value) {
    wrong(json, key, "a finite number", name);
  }
  return *value;
}

// TrainerControl as transformers writes it, so that its reader finds what it expects.
Json control(bool stop) {
  return {{"args",
           {{"should_epoch_stop", false},
            {"should_evaluate", false},
            {"should_log", false},
            {"should_save", true},
            {"should_training_stop", stop}}},
          {"attributes", Json::object()}};
}

}  // namespace

std::string TrainerState::text() const {
  Json json;
  json["best_global_step"] = or_null(best_global_step);
  json["best_metric"] = or_null(best_metric);
  json["best_model_checkpoint"] = or_null(best_model_checkpoint);
  json["epoch"] = epoch;
  json["eval_steps"] = eval_steps.value_or(500);
  json["global_step"] = global_step;
  json["is_hyper_param_search"] = false;
  json["is_local_process_zero"] = true;
  json["is_world_process_zero"] = true;
  json["log_history"] = log_history;
  json["logging_steps"] = logging_steps;
  json["max_steps"] = max_steps;
  json["num_input_tokens_seen"] = num_input_tokens_seen;
  json["num_train_epochs"] = num_train_epochs;
  json["save_steps"] = save_steps;
  json["stateful_callbacks"] = {{"TrainerControl", control(global_step >= max_steps)}};
  json["total_flos"] = total_flos;
  json["train_batch_size"] = train_batch_size;
  json["trial_name"] = nullptr;
  json["trial_params"] = nullptr;
  // The plain json type keeps keys sorted at every depth.
  return nlohmann::json(json).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

TrainerState TrainerState::parse(const Json& json, const std::string& name) {
  TrainerState state;
  try {
    state.log_history = json.at("log_history");
    json.at("global_step");
    const auto whole = [&](const char* key, int64_t& into) { into = count(json, key, into, name); };
    const auto real = [&](const char* key, double& into) { into = number(json, key, into, name); };
    whole("global_step", state.global_step);
    real("epoch", state.epoch);
    whole("max_steps", state.max_steps);
    whole("num_train_epochs", state.num_train_epochs);
    whole("logging_steps", state.logging_steps);
    whole("save_steps", state.save_steps);
    whole("train_batch_size", state.train_batch_size);
    whole("num_input_tokens_seen", state.num_input_tokens_seen);
    real("total_flos", state.total_flos);
    if (has(json, "eval_steps")) {
      state.eval_steps = count(json, "eval_steps", 0, name);
    }
    if (has(json, "best_metric")) {
      state.best_metric = number(json, "best_metric", 0, name);
    }
    if (has(json, "best_global_step")) {
      state.best_global_step = count(json, "best_global_step", 0, name);
    }
    if (has(json, "best_model_checkpoint")) {
      state.best_model_checkpoint = json["best_model_checkpoint"].get<std::string>();
    }
    if (state.global_step < 0) {
      wrong(json, "global_step", "at least 0", name);
    }
  } catch (const nlohmann::json::exception& failure) {
    throw Error("M011", fmt::format("not a trainer state: {}", failure.what())).at(name);
  }
  if (!state.log_history.is_array()) {
    throw Error("M011", "not a trainer state: log_history is not a list").at(name);
  }
  return state;
}

int64_t TrainerState::steps_scheduled(const std::function<double(int64_t)>& learning_rate) const {
  for (size_t i = log_history.size(); i-- > 0;) {
    const Json& line = log_history[i];
    if (!line.contains("learning_rate") || !line["learning_rate"].is_number()) {
      continue;
    }
    const auto logged = line["learning_rate"].get<double>();
    const int64_t step = line.value("step", global_step);
    for (int64_t before = step - 1; before >= 0; --before) {
      if (std::abs(learning_rate(before) - logged) <= 1e-9 * std::abs(logged)) {
        return before + 1 + global_step - step;
      }
    }
    break;  // another schedule than this run's
  }
  return global_step;
}

int64_t interval_steps(double interval, int64_t max_steps) {
  if (interval >= 1.0) {
    return static_cast<int64_t>(interval);
  }
  const double steps = std::ceil(static_cast<double>(max_steps) * interval);
  return std::max<int64_t>(1, static_cast<int64_t>(steps));
}

}  // namespace sft
