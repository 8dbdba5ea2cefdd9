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
#include <set>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/file_writer.h"
#include "io/model_source.h"
#include "io/safetensors.h"
#include "settings/nested_options.h"
#include "train/run_state.h"
#include "train/trainer.h"

namespace sft {

namespace {

constexpr const char* kTensors = "optimizer.safetensors";
constexpr const char* kState = "sft_state.json";
constexpr const char* kTrainerState = "trainer_state.json";

// All that a save needs once training goes on.
struct SaveJob {
  fs::path output_dir;
  std::string run;
  int64_t step = 0;
  std::vector<std::pair<std::string, std::string>> texts;  // file, contents
  Json run_state;                                          // null: not saved
  std::vector<StreamedTensor> weights, state;
  bool ends_turns = false, chats = false;
  std::vector<fs::path> keep;
  int64_t limit = 0;

  // Returns what was another run's and had to make room.
  fs::path write(const TrainerHooks& hooks, const std::function<void()>& was_read) {
    CheckpointWriter writer(output_dir, step, run);
    if (!state.empty()) {
      writer.write_tensors(kTensors, state);
    }
    writer.add(hooks.export_model(writer.folder(), {weights, ends_turns, chats}, nullptr).files);
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

Error of_another_run(const fs::path& file, std::string_view what, std::string_view name) {
  return Error("M264", fmt::format("{} {} {}: the checkpoint is of another model or optimizer",
                                   file.string(), what, name))
      .hint("resume with the model and --optim that the run began with");
}

const StoredTensor& find_part(const SafetensorsFile& file, const std::string& name,
                              const Shape& shape, DType dtype) {
  const StoredTensor* stored = file.find(name);
  if (stored == nullptr) {
    throw of_another_run(file.path(), "has no", name);
  }
  if (stored->shape != shape.dims() || parse_dtype(stored->dtype) != dtype) {
    throw of_another_run(
        file.path(), stored->shape != shape.dims() ? "has another shape of" : "has another type of",
        name);
  }
  return *stored;
}

void keep_weights(std::vector<HeldPart>& parts) {
  std::erase_if(parts, [](const HeldPart& part) { return !part.name.starts_with(kMaster); });
}

}  // namespace

Json Trainer::saved_state() {
  const bool draws = options_.neftune_noise_alpha || is_drawn(sampling_of(options_));
  state_.loader = loader_->state(draws);
  state_.planned_steps = planned_steps_;
  return write_state(state_);
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
  if (last_saved_ == state_.step) {
    return;
  }
  finish_save();
  last_saved_ = state_.step;
  note_saved();
  fill_state();
  sharder_.settle();
  std::vector<StreamedTensor> state = fix_state();
  if (log_ == nullptr) {
    return;
  }
  SaveJob job;
  job.output_dir = options_.output_dir;
  job.run = state_.run;
  job.step = state_.step;
  job.limit = options_.save_total_limit.value_or(0);
  job.weights = weights_of(state);
  job.ends_turns = state_.ends_turns;
  job.chats = state_.chats;
  if (!options_.save_only_model) {
    job.state = std::move(state);
    job.run_state = saved_state();
  }
  job.texts.emplace_back(kTrainerState, log_->state().text());
  job.texts.emplace_back("training_args.json", to_text(option_values(options_), 2) + "\n");
  if (state_.best_saved && (options_.load_best_model_at_end || saving_.strategy == "best")) {
    job.keep.push_back(checkpoint_folder(state_.best_saved->step));
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
  log_->event("info", {}, fmt::format("saved {}", last_checkpoint_), "", "saved");
}

void check_state_tensors(const fs::path& checkpoint, const Model& model, DType weight_type,
                         const OptimizerSettings& optimizer) {
  const SafetensorsFile file(checkpoint / kTensors);
  const std::vector<StatePart> wanted = whole_state(model, weight_type, &optimizer);
  for (const StatePart& part : wanted) {
    find_part(file, part.name, part.shape, part.dtype);
  }
  std::set<std::string_view> names;
  for (const StatePart& part : wanted) {
    names.insert(part.name);
  }
  for (const StoredTensor& stored : file.tensors()) {
    if (!names.contains(stored.name)) {
      throw of_another_run(file.path(), "has, beside what this run reads,", stored.name);
    }
  }
}

void Trainer::read_parts(const fs::path& path, std::span<const HeldPart> parts) const {
  const SafetensorsFile file(path);
  for (const HeldPart& part : parts) {
    const StoredTensor& stored = find_part(file, part.name, part.shape, part.dtype);
    const size_t begin = static_cast<size_t>(part.begin) * size_of(part.dtype);
    model_.optimizer_device(context_.device)
        .upload(part.data, file.raw(stored).data() + begin, part.bytes());
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

// What follows from a state that was read.
void Trainer::restore() {
  restore_position();
  state_.evaluation_left = state_.evaluation_left && eval_loader_;
  if (state_.loader.random) {
    loader_->restore_random(*state_.loader.random);
  }
}

// Where the data or the batches are others, the place is that after the rows which the epoch has
// seen, and the steps still to do are counted from there.
void Trainer::restore_position() {
  const int64_t rows = options_.ignore_data_skip ? 0 : state_.loader.rows_done;
  const Cursor cursor = place_to_go_on(state_.loader.cursor);
  const bool moved = loader_->go_on(cursor, rows, state_.loader.step_rows);
  if (!moved && state_.planned_steps == planned_steps_) {
    return plan_steps(state_.total_steps);
  }
  plan_steps(options_.max_steps > 0 ? options_.max_steps
                                    : state_.step + loader_->steps_left(options_.num_train_epochs));
  if (moved) {
    context_.logger.note(fmt::format(
        "the position is recomputed from the rows seen: {} of {} rows of epoch {} are done, step "
        "{} of {}",
        loader_->rows_done(), loader_->rows_per_epoch(), loader_->cursor().epoch + 1, state_.step,
        state_.total_steps));
  }
}

// Another program's: weights and the number of steps can be used.
void Trainer::resume_foreign(const fs::path& checkpoint) {
  const fs::path file = checkpoint / kTrainerState;
  const TrainerState state = TrainerState::parse(read_json(file), file.string());
  load_weights(checkpoint);
  state_.step = state.global_step;
  state_.scheduled = state.steps_scheduled(
      [&](int64_t steps) { return options_.optim.learning_rate * schedule_(steps); });
  const int64_t a_epoch = loader_->steps_per_epoch();
  loader_->seek(place_to_go_on({state_.step / a_epoch, state_.step % a_epoch}));
  state_.input_tokens = state.num_input_tokens_seen;
  state_.flos = state.total_flos;
  state_.best_metric = state.best_metric;
  state_.best_step = state.best_global_step.value_or(0);
  state_.num_tokens = state.num_input_tokens_seen;
  for (const Json& line : state.log_history) {
    if (line.contains("num_tokens") && line["num_tokens"].is_number()) {
      state_.num_tokens = static_cast<int64_t>(line["num_tokens"].get<double>());
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
  if (!verified) {
    verify_checkpoint(checkpoint, &pool);
  }
  if (!is_there(checkpoint / kState)) {
    throw Error("M269", fmt::format("{} holds the model only, not the state of its run",
                                    checkpoint.string()))
        .hint(fmt::format("start a new run from it with  --model_name_or_path {}",
                          checkpoint.string()));
  }
  RunState state;
  read_run_state(state, checkpoint / kState);
}

std::optional<Json> saved_identity(const fs::path& checkpoint) {
  if (!is_there(checkpoint / kState)) {
    return std::nullopt;
  }
  RunState state;
  read_run_state(state, checkpoint / kState);
  return state.identity;
}

void Trainer::resume(const fs::path& checkpoint) {
  if (origin_of(checkpoint).kind == CheckpointOrigin::Kind::hf_trainer) {
    return resume_foreign(checkpoint);
  }
  read_run_state(state_, checkpoint / kState);
  sharder_.settle();  // the weights that are replaced may still be on their way to other ranks
  read_parts(checkpoint / kTensors, sharder_.state_parts());
  sharder_.refresh();
  restore();
  // Steps of before are saved and can be the best where their checkpoints are: here.
  const auto plain = [](const fs::path& path) { return fs::absolute(path).lexically_normal(); };
  last_saved_ = plain(checkpoint) == plain(checkpoint_folder(state_.step)) ? state_.step : -1;
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
    const auto source = ModelSource::open(checkpoint.string(), "", {});
    model_.read_weights(context_.device, [&](const std::string& name, const Shape& shape,
                                             ElementRange part, float* to) {
      if (!source->has(name) || source->shape(name) != shape) {
        throw Error("M264", fmt::format("{} has no {} of the shape {}", checkpoint.string(), name,
                                        shape.text()));
      }
      source->read_f32(name, part, to, &context_.device.threads());
    });
  }
  sharder_.refresh();
}

SavedWeights Trainer::weights() {
  sharder_.settle();
  SavedWeights out;
  out.ends_turns = state_.ends_turns;
  out.chats = state_.chats;
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
  if (!state_.best_saved) {
    return 0;
  }
  const CheckpointOrigin origin = origin_of(checkpoint_folder(state_.best_saved->step));
  return origin.run == state_.run && origin.step == state_.best_saved->step ? origin.step : 0;
}

void Trainer::drop_best_elsewhere() {
  if (log_ == nullptr || !state_.best_saved || loadable_best() > 0) {
    return;
  }
  if (options_.load_best_model_at_end) {
    context_.logger.warn(
        fmt::format("{} is not there: of the steps evaluated so far none can be loaded as the best",
                    checkpoint_folder(state_.best_saved->step).string()));
  }
  state_.best_saved.reset();
}

// Decided by rank 0, which wrote it. Where there is none the run has its result all the same.
int64_t Trainer::best_to_load() {
  std::array<double, 1> step{};
  if (log_ != nullptr) {
    std::string why_not = "no step that was evaluated has a checkpoint of this run here";
    if (state_.best_saved) {
      why_not = fmt::format("{} is not there any more, or not of this run",
                            checkpoint_folder(state_.best_saved->step).string());
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
