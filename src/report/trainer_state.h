// trainer_state.json in transformers' schema: how far a run is and everything it logged. Written at
// the root of output_dir and into checkpoints; read on resume. Used by RunLog and the trainer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "core/saved_state.h"

namespace sft {

struct TrainerState {
  double epoch = 0.0;
  int64_t global_step = 0;  // optimizer steps done
  int64_t max_steps = 0;
  int64_t num_train_epochs = 0;  // rounded up
  // Steps, after shares of the run were turned into numbers.
  int64_t logging_steps = 500, save_steps = 500, eval_steps = 500;
  int64_t train_batch_size = 0;  // per device
  int64_t num_input_tokens_seen = 0;
  double total_flos = 0.0;
  Json log_history = Json::array();  // one object a log line, with "step"
  std::optional<double> best_metric;
  std::optional<int64_t> best_global_step;
  std::optional<std::string> best_model_checkpoint;

  void visit(StateTable& v);  // what of the file changes, and is read again
  // The file's text: keys sorted, indent 2, numbers that are not finite as null.
  std::string text() const;
  // M011 when a key is missing or of another type; `name` is shown in the error.
  static TrainerState parse(const Json& json, const std::string& name);

  // Where the schedule stands in a run of transformers: at the steps done less those that a loss
  // scale has skipped. Their number is not written, but the last learning rate that was logged is;
  // `learning_rate`: the schedule's, after so many steps.
  int64_t steps_scheduled(const std::function<double(int64_t)>& learning_rate) const;
};

// A share of the run (below 1) as steps, rounded up; whole numbers as they are.
int64_t interval_steps(double interval, int64_t max_steps);

}  // namespace sft
