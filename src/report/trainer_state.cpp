#include "report/trainer_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/numbers.h"

namespace sft {
namespace {

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

void TrainerState::visit(StateTable& v) {
  constexpr int64_t kNotSaid = -1;  // as transformers writes it
  v("global_step", &global_step);
  v("log_history", &log_history);
  v("epoch", &epoch).may_be_missing();
  v("max_steps", &max_steps).at_least(kNotSaid).may_be_missing();
  v("num_train_epochs", &num_train_epochs).at_least(kNotSaid).may_be_missing();
  v("logging_steps", &logging_steps).at_least(kNotSaid).may_be_missing();
  v("save_steps", &save_steps).at_least(kNotSaid).may_be_missing();
  v("eval_steps", &eval_steps).at_least(kNotSaid).may_be_missing();
  v("train_batch_size", &train_batch_size).at_least(kNotSaid).may_be_missing();
  v("num_input_tokens_seen", &num_input_tokens_seen).at_least(kNotSaid).may_be_missing();
  v("total_flos", &total_flos).may_be_missing();
  v("best_metric", &best_metric).may_be_missing();
  v("best_global_step", &best_global_step).at_least(kNotSaid).may_be_missing();
  v("best_model_checkpoint", &best_model_checkpoint).may_be_missing();
}

std::string TrainerState::text() const {
  Json json = write_state(*this);
  json["is_hyper_param_search"] = false;
  json["is_local_process_zero"] = true;
  json["is_world_process_zero"] = true;
  json["stateful_callbacks"] = {{"TrainerControl", control(global_step >= max_steps)}};
  json["trial_name"] = nullptr;
  json["trial_params"] = nullptr;
  // The plain json type keeps keys sorted at every depth.
  return nlohmann::json(json).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

TrainerState TrainerState::parse(const Json& json, const std::string& name) {
  TrainerState state;
  const StateOrigin origin{name, "M011", "it is no trainer_state.json, or a damaged one", true};
  read_state(state, json, origin);
  if (!state.log_history.is_array()) {
    throw Error("M011", fmt::format("{}: \"log_history\" is {}, it must be a list", name,
                                    to_text(state.log_history).substr(0, 60)))
        .hint(origin.hint);
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
