// What of a trainer goes into a checkpoint, and how it comes back.
//   model files            as the final folder has them, in the dtype they are saved in
//   optimizer.safetensors  master.<name> (the weights as they are trained), exp_avg.<name>,
//   exp_avg_sq.<name>, and
//                          what optim/state_layout.h adds for 8-bit states
//   trainer_state.json     transformers' schema;  sft_state.json  everything else that resuming
//   needs training_args.json     the configuration
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/file_writer.h"
#include "io/safetensors.h"
#include "settings/nested_options.h"
#include "train/run_state.h"
#include "train/trainer.h"

namespace sft {

namespace {

constexpr const char* kTensors = "optimizer.safetensors";
constexpr const char* kState = "sft_state.json";
constexpr const char* kTrainerState = "trainer_state.json";
constexpr int kStateVersion = 4;

// All that a save needs once training goes on.
struct SaveJob {
  fs::path output_dir;
  std::string run;
  int64_t step = 0;
  std::vector<std::pair<std::string, std::string>> texts;  // file, contents
  Json run_state;                                          // null: not saved
  std::vector<StreamedTensor> weights, state;
  std::vector<fs::path> keep;
  int64_t limit = 0;

  // Returns what was another run's and had to make room.
  fs::path write(const TrainerHooks& hooks, const std::function<void()>& was_read) {
    CheckpointWriter writer(output_dir, step, run);
    if (!state.empty()) {
      writer.write_tensors(kTensors, state);
    }
    writer.add(hooks.export_model(writer.folder(), weights, nullptr).files);
    was_read();
    if (!run_state.is_null()) {
      run_state["identity"] = hooks.identity();
      writer.write_text(kState, to_text(run_state, 2) + "\n");
    }
    for (const auto& [file, text] : texts) {
      writer.write_text(file, text);
    }
    writer.commit();
    rotate_checkpoints(output_dir, run, step, limit, keep);
    return writer.moved();
  }
};

constexpr std::string_view kMaster = "master.";

// Of parts that are whole tensors.
std::vector<NamedTensor> whole_tensors(std::span<const HeldPart> parts) {
  std::vector<NamedTensor> out;
  for (const HeldPart& part : parts) {
    out.push_back({part.name, {part.data, part.shape, part.dtype}});
  }
  return out;
}

// The weights among the tensors of a state, under their own names.
std::vector<StreamedTensor> weights_of(std::span<const StreamedTensor> state) {
  std::vector<StreamedTensor> out;
  for (const StreamedTensor& t : state) {
    if (t.name.starts_with(kMaster)) {
      out.push_back(t);
      out.back().name.erase(0, kMaster.size());
    }
  }
  return out;
}

void keep_weights(std::vector<HeldPart>& parts) {
  std::erase_if(parts, [](const HeldPart& part) { return !part.name.starts_with(kMaster); });
}

}  // namespace

Json Trainer::state_json() const {
  // Every number is finite: what is not is null in JSON, and could not be read back.
  Json state = {{"version", kStateVersion},
                {"run", context_.run},
                {"identity", nullptr},  // the thread that saves fills it in
                {"cursor", to_json(loader_->cursor())},
                {"rows_done", loader_->rows_done()},  // of the cursor's epoch
                {"total_steps", total_steps_},
                {"step", step_},
                {"updates", updates_},
                {"scheduled", scheduled_},
                {"num_tokens", num_tokens_},
                {"input_tokens", input_tokens_},
                {"flos", flos_},
                {"total_loss", total_loss_},
                {"losses", losses_},
                {"skipped", skipped_},
                {"skipped_in_a_row", skipped_in_a_row_},
                {"interval", interval_.json()},
                {"grad_norm", std::isfinite(grad_norm_) ? grad_norm_ : 0.0},
                {"learning_rate", last_learning_rate_},
                {"best_step", best_step_},
                {"evaluation_left", evaluation_left_}};
  state["best_metric"] = best_metric_ ? Json(*best_metric_) : Json();
  state["best_saved"] =
      best_saved_ ? Json({{"step", best_saved_->step}, {"metric", best_saved_->metric}}) : Json();
  state["scaler"] = scaler_ ? scaler_->state() : Json();
  state["by_metric"] = by_metric_ ? by_metric_->state() : Json();
  const bool draws = options_.neftune_noise_alpha || is_drawn(sampling_of(options_));
  state["random"] = draws ? loader_->random_state() : Json();
  return state;
}

// What a save takes from the steps that follow: a copy on the device where there is room, or the
// parts of all ranks.
std::vector<StreamedTensor> Trainer::fix_state() {
  if (sharder_.scattered()) {
    gathered_.emplace(gather_state(sharder_, log_ != nullptr, !options_.save_only_model));
    return gathered_->streamed();
  }
  if (log_ == nullptr) {
    return {};
  }
  std::vector<HeldPart> parts = sharder_.state_parts();
  if (options_.save_only_model) {
    keep_weights(parts);
  }
  snapshot_.emplace(model_.optimizer_device(context_.device), whole_tensors(parts));
  return snapshot_->streamed();
}

void Trainer::save_checkpoint() {
  if (last_saved_ == step_) {
    return;
  }
  finish_save();
  last_saved_ = step_;
  note_saved();
  fill_state();
  sharder_.settle();
  std::vector<StreamedTensor> state = fix_state();
  if (log_ == nullptr) {
    return;
  }
  SaveJob job;
  job.output_dir = options_.output_dir;
  job.run = context_.run;
  job.step = step_;
  job.limit = options_.save_total_limit.value_or(0);
  job.weights = weights_of(state);
  if (!options_.save_only_model) {
    job.state = std::move(state);
    job.run_state = state_json();
  }
  job.texts.emplace_back(kTrainerState, log_->state().text());
  job.texts.emplace_back("training_args.json", to_text(option_values(options_), 2) + "\n");
  if (best_saved_ && (options_.load_best_model_at_end || saving_.strategy == "best")) {
    job.keep.push_back(checkpoint_folder(best_saved_->step));
  }
  const bool fixed = gathered_ || snapshot_->copied();
  saving_now_.start(
      [this, job = std::move(job)](const std::function<void()>& was_read) mutable {
        moved_aside_ = job.write(hooks_, was_read);
      },
      fixed);
}

fs::path Trainer::checkpoint_folder(int64_t step) const {
  return fs::path(options_.output_dir) / fmt::format("checkpoint-{}", step);
}

void Trainer::finish_save() {
  if (!saving_now_.started()) {
    return;
  }
  saving_now_.finish();
  snapshot_.reset();
  gathered_.reset();
  last_checkpoint_ = checkpoint_folder(last_saved_).string();
  if (!moved_aside_.empty()) {
    context_.logger.warn(fmt::format("{} was not of this run: it is {} now", last_checkpoint_,
                                     std::exchange(moved_aside_, fs::path()).string()));
  }
  if (hooks_.on_checkpoint) {
    hooks_.on_checkpoint(last_checkpoint_, last_saved_);
  }
  log_->event("info", "", fmt::format("saved {}", last_checkpoint_));
}

void Trainer::read_parts(const fs::path& path, std::span<const HeldPart> parts) const {
  const SafetensorsFile file(path);
  for (const HeldPart& part : parts) {
    const StoredTensor* stored = file.find(part.name);
    const bool same_shape = stored != nullptr && stored->shape == part.shape.dims();
    if (!same_shape || parse_dtype(stored->dtype) != part.dtype) {
      throw Error("M264", fmt::format("{} {} {}: the checkpoint is of another model or optimizer",
                                      path.string(),
                                      stored == nullptr ? "has no"
                                      : !same_shape     ? "has another shape of"
                                                        : "has another type of",
                                      part.name))
          .hint("resume with the model and --optim that the run began with");
    }
    const size_t begin = static_cast<size_t>(part.begin) * size_of(part.dtype);
    model_.optimizer_device(context_.device)
        .upload(part.data, file.raw(*stored).data() + begin, part.bytes());
  }
}

// --ignore_data_skip: the epoch begins again, as transformers has it.
Cursor Trainer::place_to_go_on(Cursor saved) const {
  if (!options_.ignore_data_skip) {
    return saved;
  }
  const int64_t whole = saved.step_in_epoch / loader_->steps_per_epoch();  // 1: it was at its end
  return {saved.epoch + whole, 0};
}

void Trainer::restore(const Json& s) {
  step_ = s.at("step");
  restore_position(s);
  updates_ = s.at("updates");
  scheduled_ = s.at("scheduled");
  num_tokens_ = s.at("num_tokens");
  input_tokens_ = s.at("input_tokens");
  flos_ = s.at("flos");
  total_loss_ = s.at("total_loss");
  losses_ = s.at("losses");
  skipped_ = s.at("skipped");
  skipped_in_a_row_ = s.at("skipped_in_a_row");
  interval_ = Interval::from(s.at("interval"));
  grad_norm_ = s.at("grad_norm");
  last_learning_rate_ = s.at("learning_rate");
  best_step_ = s.at("best_step");
  evaluation_left_ = eval_loader_ && s.at("evaluation_left").get<bool>();
  if (!s.at("best_metric").is_null()) {
    best_metric_ = s.at("best_metric").get<double>();
  }
  if (const Json& best = s.at("best_saved"); !best.is_null()) {
    best_saved_ = {best.at("step").get<int64_t>(), best.at("metric").get<double>()};
  }
  if (scaler_ && !s.at("scaler").is_null()) {
    scaler_->restore(s.at("scaler"));
  }
  if (by_metric_ && !s.at("by_metric").is_null()) {
    by_metric_->restore(s.at("by_metric"));
  }
  if (!s.at("random").is_null()) {
    loader_->restore_random(s.at("random"));
  }
}

// Where the data or the batches are others, the place is that after the rows which the epoch has
// seen, and the steps still to do are counted from there.
void Trainer::restore_position(const Json& s) {
  const int64_t rows = options_.ignore_data_skip ? 0 : s.at("rows_done").get<int64_t>();
  const Json& then = s.at("identity");
  const Cursor cursor = place_to_go_on(cursor_from_json(s.at("cursor")));
  const bool moved = loader_->go_on(cursor, rows, then.at("rows of a step"));
  if (!moved && then.at("steps") == planned_steps_) {
    return plan_steps(s.at("total_steps"));
  }
  plan_steps(options_.max_steps > 0 ? options_.max_steps
                                    : step_ + loader_->steps_left(options_.num_train_epochs));
  if (moved) {
    context_.logger.note(fmt::format(
        "the position is recomputed from the rows seen: {} of {} rows of epoch {} are done, step "
        "{} of {}",
        loader_->rows_done(), loader_->rows_per_epoch(), loader_->cursor().epoch + 1, step_,
        total_steps_));
  }
}

// Another program's: weights and the number of steps can be used.
void Trainer::resume_foreign(const fs::path& checkpoint) {
  const fs::path file = checkpoint / kTrainerState;
  const TrainerState state = TrainerState::parse(read_json(file), file.string());
  load_weights(checkpoint);
  step_ = state.global_step;
  scheduled_ = state.steps_scheduled(
      [&](int64_t steps) { return options_.optim.learning_rate * schedule_(steps); });
  const int64_t a_epoch = loader_->steps_per_epoch();
  loader_->seek(place_to_go_on({step_ / a_epoch, step_ % a_epoch}));
  input_tokens_ = state.num_input_tokens_seen;
  flos_ = state.total_flos;
  best_metric_ = state.best_metric;
  best_step_ = state.best_global_step.value_or(0);
  num_tokens_ = state.num_input_tokens_seen;
  for (const Json& line : state.log_history) {
    if (line.contains("num_tokens") && line["num_tokens"].is_number()) {
      num_tokens_ = static_cast<int64_t>(line["num_tokens"].get<double>());
    }
  }
  if (log_ != nullptr) {
    log_->state() = state;
  }
  context_.logger.warn(
      fmt::format("{} was saved by the Hugging Face Trainer: its optimizer.pt is "
                  "a pickle and not read, the optimizer starts afresh",
                  checkpoint.string()));
}

void check_resumable(const fs::path& checkpoint, const TrainOptions& options, ThreadPool& pool,
                     bool verified) {
  if (origin_of(checkpoint).kind == CheckpointOrigin::Kind::hf_trainer) {
    if (options.resume_with_changes) {
      return;
    }
    throw Error("M266",
                fmt::format("{} was saved by the Hugging Face Trainer: its optimizer.pt is a "
                            "pickle, a program that runs when it is read, so it is not read; its "
                            "weights and trainer_state.json can be",
                            checkpoint.string()))
        .hint("go on from them with fresh optimizer state:  --resume_with_changes true");
  }
  const auto unusable = [&](std::string_view what) {
    return Error("M264", fmt::format("{} {}", checkpoint.string(), what))
        .hint(fmt::format("start a new run from it with  --model_name_or_path {}",
                          checkpoint.string()));
  };
  if (!verified) {
    verify_checkpoint(checkpoint, &pool);
  }
  if (!is_there(checkpoint / kState)) {
    throw unusable("holds the model only, not the state of its run");
  }
  const Json state = read_json(checkpoint / kState);
  if (!state.is_object() || !state.contains("version") || state["version"] != kStateVersion) {
    throw unusable("was saved by another version of this program");
  }
}

std::optional<Json> saved_identity(const fs::path& checkpoint) {
  if (!is_there(checkpoint / kState)) {
    return std::nullopt;
  }
  return read_json(checkpoint / kState).at("identity");
}

void Trainer::resume(const fs::path& checkpoint) {
  if (origin_of(checkpoint).kind == CheckpointOrigin::Kind::hf_trainer) {
    return resume_foreign(checkpoint);
  }
  const Json state = read_json(checkpoint / kState);
  check_run_state(state, (checkpoint / kState).string());
  try {
    sharder_.settle();  // the weights that are replaced may still be on their way to other ranks
    read_parts(checkpoint / kTensors, sharder_.state_parts());
    sharder_.refresh();
    restore(state);
  } catch (const Json::exception& e) {
    throw Error("M264",
                fmt::format("{} cannot be used: {}", (checkpoint / kState).string(), e.what()));
  }
  context_.run = state.at("run");
  // Steps of before are saved and can be the best where their checkpoints are: here.
  const auto plain = [](const fs::path& path) { return fs::absolute(path).lexically_normal(); };
  last_saved_ = plain(checkpoint) == plain(checkpoint_folder(step_)) ? step_ : -1;
  drop_best_elsewhere();
  last_checkpoint_ = checkpoint.string();
  if (log_ != nullptr) {
    const fs::path file = checkpoint / kTrainerState;
    log_->state() = TrainerState::parse(read_json(file), file.string());
  }
}

void Trainer::load_weights(const fs::path& checkpoint) {
  sharder_.settle();  // as in `resume`
  if (is_there(checkpoint / kTensors)) {
    std::vector<HeldPart> masters = sharder_.state_parts();
    keep_weights(masters);
    read_parts(checkpoint / kTensors, masters);
  } else {
    const SafetensorsFolder folder(checkpoint);
    model_.read_weights(context_.device, [&](const std::string& name, const Shape& shape,
                                             ElementRange part, float* to) {
      const auto entry = folder.find(name);
      if (!entry || entry->tensor->shape != shape.dims()) {
        throw Error("M264", fmt::format("{} has no {} of the shape {}", checkpoint.string(), name,
                                        shape.text()));
      }
      entry->file->read_f32(*entry->tensor, part, to, &context_.device.threads());
    });
  }
  sharder_.refresh();
}

SavedWeights Trainer::weights() {
  sharder_.settle();
  SavedWeights out;
  if (sharder_.scattered()) {
    out.memory.emplace(gather_state(sharder_, log_ != nullptr, false));
    out.tensors = weights_of(out.memory->streamed());
  } else {
    out.tensors =
        streamed_from(model_.optimizer_device(context_.device), whole_tensors(model_.held_parts()));
  }
  return out;
}

// The step whose checkpoint in output_dir is this run's and the best, or 0.
int64_t Trainer::loadable_best() const {
  if (!best_saved_) {
    return 0;
  }
  const CheckpointOrigin origin = origin_of(checkpoint_folder(best_saved_->step));
  return origin.run == context_.run && origin.step == best_saved_->step ? origin.step : 0;
}

void Trainer::drop_best_elsewhere() {
  if (log_ == nullptr || !best_saved_ || loadable_best() > 0) {
    return;
  }
  if (options_.load_best_model_at_end) {
    context_.logger.warn(
        fmt::format("{} is not there: of the steps evaluated so far none can be loaded as the best",
                    checkpoint_folder(best_saved_->step).string()));
  }
  best_saved_.reset();
}

// Decided by rank 0, which wrote it. Where there is none the run has its result all the same.
int64_t Trainer::best_to_load() {
  std::array<double, 1> step{};
  if (log_ != nullptr) {
    std::string why_not = "no step that was evaluated has a checkpoint of this run here";
    if (best_saved_) {
      why_not = fmt::format("{} is not there any more, or not of this run",
                            checkpoint_folder(best_saved_->step).string());
    }
    if (const int64_t best = loadable_best(); best > 0) {
      try {
        verify_checkpoint(checkpoint_folder(best), &context_.device.threads());
        step[0] = static_cast<double>(best);
      } catch (const Error& e) {
        why_not = e.message();
      }
    }
    if (step[0] == 0) {
      context_.logger.warn(fmt::format(
          "the best model is not loaded: {}; the model is saved as it is after the last step",
          why_not));
    }
  }
  context_.comm.all_reduce(std::span<double>(step));
  return static_cast<int64_t>(step[0]);
}

void Trainer::load_best(int64_t step) {
  load_weights(checkpoint_folder(step));
  context_.logger.note(fmt::format("the best model, of step {}, is loaded again", step));
}

}  // namespace sft
