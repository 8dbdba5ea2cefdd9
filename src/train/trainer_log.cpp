// What a trainer writes down of its steps: log lines, where their time went, steps that were
// skipped and losses that stand out, with the rows that made them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "data/dataset.h"
#include "train/bad_numbers.h"
#include "train/peak_flops.h"
#include "train/trainer.h"

namespace sft {

namespace {

constexpr Code kNotFinite = "X010";

// Places of the numbers that ranks tell each other about a spike's micro-batch.
enum { kMicroBatch, kBatchLoss, kRows, kNumbers, kFirstNumber };

}  // namespace

void Trainer::note_step(const std::vector<MicroBatch>& batches, double loss) {
  if (std::isfinite(loss)) {
    extremes_.low = std::min(extremes_.low.value_or(loss), loss);
    extremes_.high = std::max(extremes_.high.value_or(loss), loss);
  }
  if (std::isfinite(grad_norm_)) {
    extremes_.grad_norm = std::max(extremes_.grad_norm.value_or(grad_norm_), grad_norm_);
  }
  if (const auto spike = spikes_.look(loss)) {  // the same on every rank
    note_spike(batches, loss, *spike);
  }
}

// The micro-batch of all ranks with the highest loss per token, and its rows.
void Trainer::note_spike(const std::vector<MicroBatch>& batches, double loss,
                         const SpikeWatch::Spike& spike) {
  size_t worst = 0;
  const auto mean = [&](size_t i) {
    const LossStats& s = batch_stats_[i];
    return s.tokens > 0 ? static_cast<double>(s.loss) / static_cast<double>(s.tokens) : 0.0;
  };
  for (size_t i = 1; i < batches.size(); ++i) {
    worst = mean(i) > mean(worst) ? i : worst;
  }
  std::vector<double> losses(static_cast<size_t>(context_.comm.size()));
  losses[static_cast<size_t>(context_.comm.rank())] = mean(worst);
  context_.comm.all_reduce(std::span<double>(losses));
  const auto rank = static_cast<int>(std::ranges::max_element(losses) - losses.begin());
  std::vector<double> told(kFirstNumber + kNamedRows);
  if (rank == context_.comm.rank()) {
    const std::vector<int64_t>& rows = batches[worst].row_numbers;
    told[kMicroBatch] = static_cast<double>(worst + 1);
    told[kBatchLoss] = mean(worst);
    told[kRows] =
        static_cast<double>(rows.empty() ? batches[worst].rows : static_cast<int64_t>(rows.size()));
    told[kNumbers] = static_cast<double>(std::min(rows.size(), kNamedRows));
    std::ranges::copy(rows.begin(), rows.begin() + static_cast<ptrdiff_t>(told[kNumbers]),
                      told.begin() + kFirstNumber);
  }
  context_.comm.all_reduce(std::span<double>(told));
  if (log_ == nullptr) {
    return;
  }
  std::vector<int64_t> rows;
  for (size_t i = 0; i < static_cast<size_t>(told[kNumbers]); ++i) {
    rows.push_back(static_cast<int64_t>(told[kFirstNumber + i]));
  }
  fill_state();
  log_->state().global_step = state_.step + 1;
  log_->event("warn", {},
              fmt::format("loss {:.4g} stands {} above the {:.4g} before; highest, {:.4g}, in "
                          "micro-batch {}{}: {}",
                          loss,
                          std::isfinite(spike.deviations)
                              ? fmt::format("{:.1f} standard deviations", spike.deviations)
                              : fmt::format("{:.4g}", loss - spike.mean),
                          spike.mean, told[kBatchLoss], static_cast<int64_t>(told[kMicroBatch]),
                          losses.size() > 1 ? fmt::format(" of rank {}", rank) : "",
                          name_rows(rows, static_cast<int64_t>(told[kRows]), train_)),
              "", "spike");
}

// The share of the devices' peak that the matrix products of so many tokens a second take.
std::optional<double> Trainer::flop_share(double tokens_per_s) const {
  const double peak = peak_flops(context_.device.name()) * context_.comm.size();
  return peak > 0 ? std::optional(tokens_per_s * flops_per_token_ / peak) : std::nullopt;
}

// float16 had no room for the gradients: the step is tried no further, and the next ones have half
// the scale. This is how the scale is found, so it ends no run.
void Trainer::lower_loss_scale() {
  ++state_.skipped;
  const double before = state_.scaler->scale();
  state_.scaler->update(false);
  const std::string text = fmt::format(
      "step {}: gradients overflow float16 at a loss scale of {}; the step is skipped, "
      "{} so far, and the scale is {} now",
      state_.step + 1, before, state_.skipped, state_.scaler->scale());
  context_.logger.note(text);
  if (log_ != nullptr) {
    log_->event("info", {}, text, "", "skipped");
  }
}

void Trainer::skip_update(const std::vector<MicroBatch>& batches, double scale) {
  ++state_.skipped;
  diagnosis_ = diagnose_step(*runner_, model_, context_.device, batches,
                             static_cast<float>(loss_scale() * scale), train_,
                             sharder_.begin_micro_batch(true, false).watcher);
  const std::string text = fmt::format(
      "step {}: the loss or the gradient is not finite (grad_norm {}); the step is skipped, {} so "
      "far; {}",
      state_.step + 1, grad_norm_, state_.skipped, diagnosis_);
  context_.logger.warn(text);
  if (log_ != nullptr) {
    log_->event("warn", kNotFinite, text, "", "skipped");
  }
  if (++state_.skipped_in_a_row >= 3) {
    throw Error(kNotFinite,
                fmt::format("the loss or the gradient was not finite in three steps in a row, "
                            "the last of them step {}: {}",
                            state_.step + 1, diagnosis_))
        .hint(
            "use a smaller --learning_rate or a longer warmup, and look at the rows with  sft "
            "inspect");
  }
}

void Trainer::log_interval() {
  if (state_.interval.steps == 0) {
    return;
  }
  fill_state();
  if (log_ != nullptr) {
    TrainLog line;
    line.loss = state_.interval.mean_loss();
    line.grad_norm = grad_norm_;
    line.learning_rate = last_learning_rate_;
    line.entropy = state_.interval.mean_entropy();
    line.num_tokens = static_cast<double>(state_.num_tokens);
    line.mean_token_accuracy = state_.interval.mean_accuracy();
    if (model_.model.config.balances()) {
      line.aux_loss = state_.interval.mean_balance();
    }
    line.tokens_per_s = static_cast<double>(state_.interval.tokens) / state_.interval.seconds;
    line.step_s = state_.interval.seconds / static_cast<double>(state_.interval.steps);
    line.mfu = flop_share(line.tokens_per_s);
    line.loss_min = extremes_.low;
    line.loss_max = extremes_.high;
    line.grad_norm_max = extremes_.grad_norm;
    line.skipped_steps = state_.skipped;
    line.loss_scale = state_.scaler ? std::optional(state_.scaler->scale()) : std::nullopt;
    log_->log(line);
    if (const TimeLog times = times_.take(); times.steps > 0) {
      log_->time(times);
    }
  }
  extremes_ = {};
  state_.interval = {};
}

void Trainer::fill_state() {
  if (log_ == nullptr) {
    return;
  }
  TrainerState& s = log_->state();
  s.epoch = loader_->epoch();
  s.global_step = state_.step;
  s.max_steps = state_.total_steps;
  s.num_train_epochs =
      options_.max_steps > 0
          ? (options_.max_steps + loader_->steps_per_epoch() - 1) / loader_->steps_per_epoch()
          : static_cast<int64_t>(std::ceil(options_.num_train_epochs));
  s.logging_steps = logging_.every;
  s.save_steps = saving_.every;
  if (evaluation_.strategy == "steps") {
    s.eval_steps = evaluation_.every;
  }
  s.train_batch_size = options_.per_device_train_batch_size;
  s.total_flos = state_.flos;
  s.num_input_tokens_seen = state_.input_tokens;
  if (state_.best_metric) {
    s.best_metric = state_.best_metric;
    s.best_global_step = state_.best_step;
  }
  s.best_model_checkpoint.reset();
  if (state_.best_saved) {
    s.best_model_checkpoint = checkpoint_folder(state_.best_saved->step).string();
  }
}

// Traces profile_steps steps from the third on: in the first two, kernels still choose how to run.
void Trainer::trace_steps(int64_t first_step, bool over) {
  constexpr int64_t kBefore = 2;
  if (!options_.profile || log_ == nullptr) {
    return;
  }
  const int64_t done = state_.step - first_step;
  if (trace_ && (over || done == kBefore + options_.profile_steps)) {
    runner_->trace(nullptr);
    times_.resume();
    trace_->write(*options_.profile);
    trace_.reset();
    context_.logger.note(fmt::format("trace of steps {} to {}: {} (open it in Perfetto)",
                                     first_step + kBefore + 1, state_.step, *options_.profile));
  } else if (over && done <= kBefore) {
    context_.logger.warn(
        fmt::format("--profile: there was no step after the first {} to trace", kBefore));
  } else if (!over && done == kBefore) {
    times_.pause();
    trace_.emplace(context_.device);
    runner_->trace(&*trace_);
  }
}

}  // namespace sft
