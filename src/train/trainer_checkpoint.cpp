// What of a trainer goes into a checkpoint, and how it comes back.
//   model files            as the final folder has them, in the dtype they are saved in
//   optimizer.safetensors  master.<name> (the weights as they are trained), exp_avg.<name>,
//   exp_avg_sq.<name>, and what
//                          optim/state_layout.h adds for 8-bit states
//   trainer_state.json     transformers' schema;  sft_state.json  everything else that resuming
//   needs training_args.json     the configuration
#include <fmt/format.h>

#include <array>
#include <cstring>

#include "core/error.h"
#include "io/convert.h"
#include "io/safetensors.h"
#include "train/trainer.h"

namespace sft {

namespace {

constexpr const char* kTensors = "optimizer.safetensors";
constexpr const char* kState = "sft_state.json";

}  // namespace

Trainer::HostState::HostState(Trainer& trainer) {
  Device& device = trainer.context_.device;
  const Buffer& weights = trainer.model_.weights;
  views.emplace_back(device, weights.data(), weights.size());
  for (NamedTensor& t : trainer.model_.published(views.back().f32(), trainer.model_.weight_type)) {
    tensors.push_back({fmt::format("master.{}", t.name), t.tensor});
  }
  const AdamW& optimizer = trainer.optimizer_;
  std::array<std::byte*, 4> bases{};  // by what a part says of its buffer
  for (const bool second : {false, true}) {
    for (const bool scale : {false, true}) {
      const Buffer& buffer = optimizer.buffer(second, scale);
      if (buffer.size() > 0) {
        views.emplace_back(device, buffer.data(), buffer.size());
        bases[(second ? 2U : 0U) + (scale ? 1U : 0U)] =
            reinterpret_cast<std::byte*>(views.back().f32());
      }
    }
  }
  for (const StatePart& part : optimizer.parts()) {
    std::byte* const base = bases[(part.second ? 2U : 0U) + (part.scale ? 1U : 0U)];
    tensors.push_back({part.name, {base + part.at, part.shape, part.dtype}});
  }
}

void Trainer::HostState::write_back() {
  for (HostView& view : views) {
    view.write_back();
  }
}

Json Trainer::batching() const {
  return {{"rows", train_rows_},
          {"per_device_train_batch_size", options_.per_device_train_batch_size},
          {"gradient_accumulation_steps", options_.gradient_accumulation_steps},
          {"world_size", context_.comm.size()},
          {"seed", options_.data_seed.value_or(options_.seed)}};
}

Json Trainer::state_json() const {
  Json state = {{"version", 1},
                {"batching", batching()},
                {"cursor", to_json(loader_->cursor())},
                {"step", step_},
                {"updates", updates_},
                {"num_tokens", num_tokens_},
                {"flos", flos_},
                {"total_loss", total_loss_},
                {"skipped", skipped_},
                {"skipped_in_a_row", skipped_in_a_row_},
                {"interval", interval_.json()},
                {"grad_norm", grad_norm_},
                {"learning_rate", last_learning_rate_},
                {"best_step", best_step_}};
  state["best_metric"] = best_metric_ ? Json(*best_metric_) : Json();
  state["scaler"] = scaler_ ? scaler_->state() : Json();
  state["plateau"] = plateau_ ? plateau_->state() : Json();
  return state;
}

void Trainer::save_checkpoint() {
  if (last_saved_ == step_) {
    return;
  }
  last_saved_ = step_;
  fill_state();
  if (log_ != nullptr) {
    CheckpointWriter writer(options_.output_dir, step_);
    writer.add(hooks_.export_model(writer.folder()));
    if (!options_.save_only_model) {
      writer.write_tensors(kTensors, HostState(*this).tensors, &context_.device.threads());
      writer.write_json(kState, state_json());
    }
    writer.write_text("trainer_state.json", log_->state().text());
    writer.write_json("training_args.json", option_values(options_));
    last_checkpoint_ = writer.commit().string();
    if (hooks_.on_checkpoint) {
      hooks_.on_checkpoint(last_checkpoint_, step_);
    }
    std::vector<fs::path> keep;
    if (options_.load_best_model_at_end || saving_.strategy == "best") {
      keep.push_back(fs::path(options_.output_dir) / fmt::format("checkpoint-{}", best_step_));
    }
    rotate_checkpoints(options_.output_dir, options_.save_total_limit.value_or(0), keep);
    log_->event("info", "", fmt::format("saved {}", last_checkpoint_));
  }
  context_.comm.barrier();
}

void Trainer::read_tensors(const fs::path& path, std::span<const NamedTensor> tensors) const {
  const SafetensorsFile file(path);
  for (const NamedTensor& t : tensors) {
    const StoredTensor* stored = file.find(t.name);
    if (stored == nullptr || stored->shape != t.tensor.shape.dims()) {
      throw Error("M264",
                  fmt::format("{} {} {}: the checkpoint is of another model", path.string(),
                              stored == nullptr ? "has no" : "has another shape of", t.name))
          .hint("resume with the model that the run began with");
    }
    if (parse_dtype(stored->dtype) != t.tensor.dtype) {
      throw Error("M264", fmt::format("{} has {} in {}, and this run holds it in {}", path.string(),
                                      t.name, stored->dtype, name_of(t.tensor.dtype)))
          .hint("resume with the --optim and --dtype that the run began with");
    }
    const std::span<const std::byte> raw = file.raw(*stored);
    std::memcpy(t.tensor.data, raw.data(), raw.size());
  }
}

void Trainer::restore(const Json& s) {
  loader_->seek(cursor_from_json(s.at("cursor")));
  step_ = s.at("step");
  updates_ = s.at("updates");
  num_tokens_ = s.at("num_tokens");
  flos_ = s.at("flos");
  total_loss_ = s.at("total_loss");
  skipped_ = s.at("skipped");
  skipped_in_a_row_ = s.at("skipped_in_a_row");
  interval_ = Interval::from(s.at("interval"));
  grad_norm_ = s.at("grad_norm").is_null() ? 0.0 : s.at("grad_norm").get<double>();
  last_learning_rate_ = s.at("learning_rate");
  best_step_ = s.at("best_step");
  if (!s.at("best_metric").is_null()) {
    best_metric_ = s.at("best_metric").get<double>();
  }
  if (scaler_ && !s.at("scaler").is_null()) {
    scaler_->restore(s.at("scaler"));
  }
  if (plateau_ && !s.at("plateau").is_null()) {
    plateau_->restore(s.at("plateau"));
  }
}

void Trainer::resume(const fs::path& checkpoint) {
  verify_checkpoint(checkpoint, &context_.device.threads());
  if (!fs::exists(checkpoint / kState)) {
    throw Error("M264", fmt::format("{} holds the model only, not the state of its run",
                                    checkpoint.string()))
        .hint(fmt::format("start a new run from it with  --model_name_or_path {}",
                          checkpoint.string()));
  }
  const Json state = read_json(checkpoint / kState);
  try {
    const Json now = batching();
    for (const auto& [key, value] : now.items()) {
      if (state.at("batching").at(key) != value) {
        throw Error("C060", fmt::format("{} was {} when {} was saved and is {} now, so the data "
                                        "cannot go on where it was",
                                        key, state["batching"][key].dump(), checkpoint.string(),
                                        value.dump()))
            .hint(
                "resume with the same data and batch sizes, or start a new run with "
                "--model_name_or_path set to the checkpoint");
      }
    }
    HostState host(*this);
    read_tensors(checkpoint / kTensors, host.tensors);
    host.write_back();
    model_.refresh_copy(context_.device);
    restore(state);
  } catch (const Json::exception& e) {
    throw Error("M264",
                fmt::format("{} cannot be used: {}", (checkpoint / kState).string(), e.what()));
  }
  last_saved_ = step_;
  last_checkpoint_ = checkpoint.string();
  if (log_ != nullptr) {
    const fs::path file = checkpoint / "trainer_state.json";
    log_->state() = TrainerState::parse(read_json(file), file.string());
  }
}

void Trainer::load_best() {
  const fs::path best = fs::path(options_.output_dir) / fmt::format("checkpoint-{}", best_step_);
  context_.comm.barrier();
  HostView weights(context_.device, model_.weights.data(), model_.weights.size());
  if (fs::exists(best / kTensors)) {
    std::vector<NamedTensor> masters;
    for (const NamedTensor& t : model_.published(weights.f32(), model_.weight_type)) {
      masters.push_back({"master." + t.name, t.tensor});
    }
    read_tensors(best / kTensors, masters);
  } else {
    const SafetensorsFolder folder(best);
    std::vector<float> wide;
    for (const NamedTensor& t : model_.published(weights.f32(), model_.weight_type)) {
      const auto entry = folder.find(t.name);
      if (!entry) {
        throw Error("M264", fmt::format("{} has no {}", best.string(), t.name));
      }
      wide.resize(static_cast<size_t>(t.tensor.shape.elements()));
      entry->file->read_f32(*entry->tensor, wide.data(), &context_.device.threads());
      convert_from_f32(t.tensor.dtype, wide.data(), t.tensor.shape.elements(),
                       static_cast<std::byte*>(t.tensor.data), &context_.device.threads());
    }
  }
  weights.write_back();
  model_.refresh_copy(context_.device);
  context_.logger.note(fmt::format("the best model, of step {}, is loaded again", best_step_));
}

}  // namespace sft
