#include "train/run_state.h"

#include <fmt/format.h>

#include "core/error.h"

namespace sft {

void Evaluated::visit(StateTable& v) {
  v("step", &step);
  v("metric", &metric);
}

void RunState::visit(StateTable& v) {
  v("version", &version);
  v("run", &run).is_name();
  v("identity", &identity);
  v("loader", &loader);
  v("planned_steps", &planned_steps);
  v("total_steps", &total_steps);
  v("step", &step);
  v("updates", &updates);
  v("scheduled", &scheduled);
  v("num_tokens", &num_tokens);
  v("input_tokens", &input_tokens);
  v("flos", &flos);
  v("total_loss", &total_loss);
  v("losses", &losses);
  v("skipped", &skipped);
  v("skipped_in_a_row", &skipped_in_a_row);
  v("ends_turns", &ends_turns);
  v("chats", &chats);
  v("interval", &interval);
  v("best_metric", &best_metric);
  v("best_step", &best_step);
  v("best_saved", &best_saved);
  v("no_better", &no_better);
  v("evaluation_left", &evaluation_left);
  v.if_there("scaler", scaler ? &*scaler : nullptr);
  v.if_there("plateau", dynamic_cast<PlateauState*>(by_metric.get()));
  v.if_there("greedy", dynamic_cast<GreedyState*>(by_metric.get()));
}

void read_run_state(RunState& state, const std::filesystem::path& file) {
  const Json json = read_json(file);
  if (!json.is_object() || !json.contains("version") || json["version"] != RunState::kVersion) {
    throw Error("M269", fmt::format("{} was saved by another version of this program",
                                    file.parent_path().string()))
        .hint(fmt::format("start a new run from it with  --model_name_or_path {}",
                          file.parent_path().string()));
  }
  read_state(state, json, {file.string()});
  if (!state.identity.is_object()) {
    throw Error("M268", fmt::format("{}: \"identity\" is {}, it must be an object", file.string(),
                                    to_text(state.identity).substr(0, 60)))
        .hint("the checkpoint is damaged; resume from an earlier one");
  }
}

}  // namespace sft
