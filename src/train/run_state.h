// What a run's checkpoint holds beside tensors, listed once: what is written into sft_state.json is
// what is read from it again. The trainer counts in it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "core/json.h"
#include "core/saved_state.h"
#include "data/tokens/loader.h"
#include "optim/grad_scaler.h"
#include "optim/metric_schedule.h"
#include "train/interval.h"

namespace sft {

// A step that was evaluated, and its metric.
struct Evaluated {
  int64_t step = 0;
  double metric = 0;

  void visit(StateTable& v);
};

struct RunState {
  static constexpr int64_t kVersion = 7;

  int64_t version = kVersion;
  std::string run;                 // its id
  Json identity = Json::object();  // what a run that goes on is compared by
  LoaderState loader;              // where the data stand
  // By its options alone, and with what was left of them where the run was resumed with others.
  int64_t planned_steps = 0, total_steps = 0;
  int64_t step = 0;          // optimizer steps done, skipped ones included
  int64_t updates = 0;       // optimizer steps that changed the weights
  int64_t scheduled = 0;     // those and, after another program's, its: where the schedule stands
  int64_t num_tokens = 0;    // TRL's num_tokens
  int64_t input_tokens = 0;  // transformers' num_input_tokens_seen
  double flos = 0;           // transformers' total_flos
  double total_loss = 0;     // over `losses` steps, those whose loss was finite
  int64_t losses = 0;
  int64_t skipped = 0, skipped_in_a_row = 0;
  bool ends_turns = false, chats = false;  // see TrainedModel
  Interval interval;
  std::optional<double> best_metric;
  int64_t best_step = 0;
  // The best of the steps that have a checkpoint of this run in output_dir, which alone can be
  // loaded.
  std::optional<Evaluated> best_saved;
  int64_t no_better = 0;  // evaluations in a row, as transformers' early stopping counts them
  // A stop broke the evaluation of this step off: it is made first when the run goes on.
  bool evaluation_left = false;
  std::optional<GradScaler> scaler;           // in float16
  std::unique_ptr<MetricSchedule> by_metric;  // null: the schedule knows the rate

  void visit(StateTable& v);
};

// M264 when the file cannot be used: of another version, or anything in it missing, not listed, or
// not of its kind.
void read_run_state(RunState& state, const std::filesystem::path& file);

}  // namespace sft
