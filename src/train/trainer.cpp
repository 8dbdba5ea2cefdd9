#include "train/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <csignal>
#include <iterator>

#include "core/error.h"
#include "core/rng.h"
#include "core/strings.h"
#include "data/dataset.h"
#include "optim/optimizers.h"
#include "settings/nested_options.h"
#include "state/trained_types.h"
#include "train/bad_numbers.h"
#include "train/embedding_noise.h"
#include "train/loader_options.h"
#include "train/peak_flops.h"

namespace sft {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Tokens as TRL's batches have them, padding included: what transformers counts flops by.
int64_t laid_tokens(const MicroBatch& batch) { return batch.laid_rows * batch.laid_length; }
// Errors of what comes before something that must be done in any case.
class Postponed {
 public:
  template <class Work>
  void of(const Work& work) {
    try {
      work();
    } catch (const Error&) {
      first_ = first_ ? first_ : std::current_exception();
    }
  }
  void rethrow() const {
    if (first_) {
      std::rethrow_exception(first_);
    }
  }

 private:
  std::exception_ptr first_;
};

OptimizerSettings settings_for(const TrainOptions& options, const Model& model) {
  OptimizerSettings s = optimizer_settings(options.optim, static_cast<uint64_t>(options.seed));
  s.rounds_weights = holds_narrower(model);
  return s;
}

}  // namespace

Trainer::Trainer(RankContext context, const TrainOptions& options, LoadedModel& model,
                 const PreparedDataset& train, const PreparedDataset* eval, RunLog* log,
                 TrainerHooks hooks, const MemoryPlan& memory)
    : context_(context),
      options_(options),
      model_(model),
      log_(log),
      hooks_(std::move(hooks)),
      train_(train),
      train_rows_(train.size()),
      memory_(memory),
      loader_(make_loader(train,
                          train_loader_options(options, context.comm.rank(), context.comm.size()))),
      planned_steps_(loader_->total_steps(options.num_train_epochs, options.max_steps)),
      sharder_(context.device, context.comm, model, options.sharding,
               settings_for(options, model.model), options.gradient_accumulation_steps),
      arena_(context.device),
      times_(context.device) {
  const OptimOptions& o = options.optim;
  state_.run = context.run;
  plan_steps(planned_steps_);
  state_.by_metric =
      make_metric_schedule(o.lr_scheduler_type, o.learning_rate, o.lr_scheduler_kwargs);
  if (model.target.compute == DType::f16) {
    state_.scaler.emplace();
  }
  runner_.emplace(context.device, arena_, model, sharder_.gradients(),
                  BatchRunnerOptions{.loss = token_loss(options),
                                     .memory = memory_.policy,
                                     .most_tokens = memory_.batch_tokens,
                                     .noise = options.neftune_noise_alpha.has_value()});
  if (eval != nullptr) {
    eval_loader_.emplace(*eval,
                         eval_loader_options(options, context.comm.rank(), context.comm.size()));
    eval_runner_.emplace(
        context.device, arena_, model, std::vector<Tensor>(),
        BatchRunnerOptions{
            .loss = token_loss(options), .most_tokens = memory_.eval_tokens, .training = false});
  }
  flops_per_token_ = flops_per_token(model.model, 0);
  for (const ParamSpec* const spec : model.model.parameters()) {
    if (!spec->words) {
      parameters_without_embeddings_ += static_cast<double>(spec->shape.elements());
    }
  }
  parameters_without_embeddings_ += static_cast<double>(model.model.originals);
}

// How many steps there are, and what follows from it.
void Trainer::plan_steps(int64_t total) {
  state_.total_steps = total;
  const OptimOptions& o = options_.optim;
  schedule_ = make_schedule(
      o.lr_scheduler_type,
      {o.learning_rate, warmup_step_count(o.warmup_steps, o.warmup_ratio.value_or(0.0), total),
       total, o.lr_scheduler_kwargs});
  logging_ = {options_.logging_strategy, interval_steps(options_.logging_steps, total)};
  evaluation_ = {options_.eval_strategy,
                 interval_steps(options_.eval_steps.value_or(options_.logging_steps), total)};
  saving_ = {options_.save_strategy, interval_steps(options_.save_steps, total)};
}

double Trainer::learning_rate() const {
  return state_.by_metric ? state_.by_metric->learning_rate()
                          : options_.optim.learning_rate *
                                schedule_(state_.scaler ? state_.scheduled : state_.step);
}

// A rank that is alone draws from the run's generator, as TRL does. Several draw each their own,
// from numbers that do not depend on what came before.
std::vector<float> Trainer::noise_of(const MicroBatch& batch, size_t number) {
  if (!options_.neftune_noise_alpha) {
    return {};
  }
  const int64_t hidden = model_.model.config.hidden;
  if (context_.comm.size() == 1) {
    TorchGenerator& random = loader_->random();
    std::vector<float> noise =
        embedding_noise(batch, hidden, *options_.neftune_noise_alpha, random);
    if (token_loss(options_).smoothing > 0) {
      // TRL makes its metrics in a second pass then, which draws as much again.
      random.discard(static_cast<uint64_t>(laid_tokens(batch) * hidden));
    }
    return noise;
  }
  const auto place =
      static_cast<uint64_t>(state_.step) * static_cast<uint64_t>(context_.comm.size()) +
      static_cast<uint64_t>(context_.comm.rank());
  TorchGenerator own(philox(static_cast<uint64_t>(options_.seed), place, number)[0]);
  return embedding_noise(batch, hidden, *options_.neftune_noise_alpha, own);
}

uint64_t Trainer::dropout_seed() const {
  constexpr uint64_t kDropout = 0xD0;
  const auto words =
      philox(static_cast<uint64_t>(options_.seed), kDropout, static_cast<uint64_t>(state_.step));
  return uint64_t{words[1]} << 32 | words[0];
}

int64_t Trainer::input_tokens(const MicroBatch& batch) const {
  if (options_.include_num_input_tokens_seen == "no") {
    return 0;
  }
  if (options_.include_num_input_tokens_seen == "all") {
    return laid_tokens(batch);
  }
  // Without padding transformers has no mask to look at, and leaves out what looks like padding.
  const auto tokens = static_cast<int64_t>(batch.tokens.size());
  return is_padding_free(options_.data) && hooks_.padding
             ? tokens - std::ranges::count(batch.tokens, *hooks_.padding)
             : tokens;
}

// TRL leaves the routers' loss out, and logs it, where labels are smoothed.
double Trainer::balance_coefficient() const {
  const std::optional<float> of_model = model_.model.config.balance_coefficient;
  return token_loss(options_).smoothing > 0 ? 0.0 : static_cast<double>(of_model.value_or(0.0F));
}

double Trainer::run_batches(const std::vector<MicroBatch>& batches, double scale) {
  double loss = 0;
  std::vector<BatchStats>& results = batch_stats_;
  results.clear();
  times_.batches_begin();
  // A mean over micro-batches and ranks, whatever they have in tokens, as TRL takes it.
  const double balance_share = 1.0 / (static_cast<double>(batches.size()) * context_.comm.size());
  const double balance_scale = balance_coefficient() * balance_share;
  for (size_t i = 0; i < batches.size(); ++i) {
    context_.comm.progress(state_.step + 1);
    const Sharder::MicroBatchRun how = sharder_.begin_micro_batch(i == 0, i + 1 == batches.size());
    const std::vector<float> noise = noise_of(batches[i], i);
    runner_->run(batches[i], static_cast<float>(scale * loss_scale()), how.overwrite, how.watcher,
                 {noise, dropout_seed()}, static_cast<float>(balance_scale * loss_scale()));
    if (i + 1 == batches.size()) {
      times_.batches_end();
    }
    if (i % 1000 == 999 || i + 1 == batches.size()) {
      std::ranges::copy(runner_->collect(), std::back_inserter(results));
    }
  }
  times_.copied(runner_->take_upload_seconds());
  times_.waited();
  constexpr size_t kSums = 8;
  std::vector<double> sums;  // of each micro-batch, over ranks
  for (size_t i = 0; i < batches.size(); ++i) {
    const BatchStats& own = results[i];
    for (const double value :
         {static_cast<double>(own.loss) * scale, static_cast<double>(own.correct),
          static_cast<double>(own.entropy), static_cast<double>(own.tokens),
          static_cast<double>(batches[i].num_tokens), static_cast<double>(laid_tokens(batches[i])),
          static_cast<double>(input_tokens(batches[i])), static_cast<double>(own.balance)}) {
      sums.push_back(value);
    }
  }
  context_.comm.all_reduce(std::span<double>(sums));
  for (size_t i = 0; i < sums.size(); i += kSums) {
    loss += sums[i];
    loss += sums[i + 7] * balance_scale;
    state_.interval.add_batch(sums[i + 1], sums[i + 2], sums[i + 3],
                              sums[i + 7] / context_.comm.size());
    state_.num_tokens += static_cast<int64_t>(sums[i + 4]);
    state_.interval.tokens += static_cast<int64_t>(sums[i + 4]);
    state_.flos += 6.0 * sums[i + 5] * parameters_without_embeddings_;
    state_.input_tokens += static_cast<int64_t>(sums[i + 6]);
  }
  return loss;
}

void Trainer::train_step() {
  const auto start = Clock::now();
  context_.comm.progress(state_.step + 1);
  std::vector<MicroBatch> batches;
  {
    const Trace::Phase phase(trace(), "next batch");
    const StepTimes::Span span(times_, &TimeLog::data);
    batches = loader_->next();
  }
  double trained = 0, turn_ends = 0, chats = 0;
  for (const MicroBatch& batch : batches) {
    trained += static_cast<double>(batch.trained);
    notes_ += batch.notes;
    chats += static_cast<double>(batch.notes.conversations);
    if (hooks_.turn_end && !state_.ends_turns) {
      turn_ends += static_cast<double>(std::ranges::count(batch.targets, *hooks_.turn_end));
    }
  }
  const bool stop = context_.stopped_by() != 0;
  const bool save = context_.save_signal != nullptr && *context_.save_signal != 0;
  std::array<double, 5> sums{trained, stop ? 1.0 : 0.0, save ? 1.0 : 0.0, turn_ends, chats};
  {
    const StepTimes::Span span(times_, &TimeLog::comm);  // for the slowest rank's batch
    context_.comm.all_reduce(std::span<double>(sums));
  }
  requested_ = {sums[1] > 0, sums[2] > 0};
  state_.ends_turns = state_.ends_turns || sums[3] > 0;
  state_.chats = state_.chats || sums[4] > 0;
  // Over the trained tokens of all ranks, or the mean of each rank's mean.
  const double scale = options_.optim.average_tokens_across_devices
                           ? 1.0 / std::max(sums[0], 1.0)
                           : 1.0 / (std::max(trained, 1.0) * context_.comm.size());
  double loss = 0;
  {
    const Trace::Phase phase(trace(), "micro-batches");
    loss = run_batches(batches, scale);
  }
  const Trace::Phase phase(trace(), "optimizer", true);
  sharder_.finish_gradients();
  times_.gradients_ready();
  grad_norm_ = sharder_.gradient_norm() / loss_scale();
  last_learning_rate_ = learning_rate();
  state_.interval.add_step(loss);
  note_step(batches, loss);
  if (std::isfinite(loss)) {
    state_.total_loss += loss;
    ++state_.losses;
  }
  if (std::isfinite(loss) && std::isfinite(grad_norm_)) {
    update(last_learning_rate_);
    state_.skipped_in_a_row = 0;
  } else if (state_.scaler && std::isfinite(loss) && state_.scaler->scale() >= 1.0) {
    lower_loss_scale();
  } else {
    skip_update(batches, scale);
  }
  times_.updated();
  ++state_.step;
  epoch_ended_ = loader_->at_epoch_end();
  state_.interval.seconds += seconds_since(start);
}

void Trainer::update(double learning_rate) {
  ++state_.updates;
  ++state_.scheduled;
  saving_now_.wait_until_read();
  OptimizerStep step;
  step.learning_rate = learning_rate;
  step.clip = clip_factor(grad_norm_, options_.optim.max_grad_norm) / loss_scale();
  step.step = state_.updates;
  sharder_.update(step);
  if (state_.scaler) {
    state_.scaler->update(true);
  }
}

bool Trainer::due(const Rhythm& rhythm) const {
  if (rhythm.strategy == "epoch") {
    return epoch_ended_ || state_.step == state_.total_steps;
  }
  return rhythm.strategy == "steps" && rhythm.every > 0 && state_.step % rhythm.every == 0;
}

void Trainer::after_step() {
  const Trace::Phase phase(trace(), "log, evaluate, save");
  if (due(logging_) || (options_.logging_first_step && state_.step == 1)) {
    log_interval();
  }
  const bool last = state_.step == state_.total_steps;
  if (eval_loader_ && (due(evaluation_) || (last && evaluation_.strategy == "steps"))) {
    const double reached = evaluation_.strategy == "epoch" ? std::round(loader_->epoch())
                                                           : static_cast<double>(state_.step);
    if (options_.eval_delay <= reached) {
      const StepTimes::Span span(times_, &TimeLog::eval);
      evaluate_and_track();
    }
  }
  const StepTimes::Span span(times_, &TimeLog::save);
  if (due(saving_) || (last && saving_.strategy == "steps") ||
      (saving_.strategy == "best" && new_best_) || save_requested()) {
    save_checkpoint();
  }
  if (context_.save_signal != nullptr && (context_.comm.size() == 1 || requested_.save)) {
    *context_.save_signal = 0;
  }
  if (saving_now_.started() && saving_now_.ended()) {
    finish_save();
  }
  new_best_ = false;
}

void Trainer::evaluate_and_track() {
  if (!has_evaluated_ || !seeds_once(options_)) {
    loader_->random().random64();  // as for an epoch: see TrainLoader::random
  }
  has_evaluated_ = true;
  const auto e = evaluate(
      *eval_runner_, *eval_loader_, context_.comm, sharder_.begin_reading(),
      [&](int64_t done) {
        if (hooks_.on_eval_batch) {
          hooks_.on_eval_batch(done, eval_loader_->batches());
        }
      },
      [&] { return context_.stopped_by() != 0; },
      model_.model.config.balances() ? std::optional(balance_coefficient()) : std::nullopt);
  const auto written = e ? write_samples() : std::nullopt;
  state_.evaluation_left = !written;
  if (!written) {
    requested_.stop = true;
    return;
  }
  fill_state();
  Json values = {{"eval_loss", e->loss},
                 {"eval_entropy", e->entropy},
                 {"eval_mean_token_accuracy", e->accuracy}};
  values.update(*written);
  if (log_ != nullptr) {
    EvalLog line{e->loss,    e->seconds, e->rows,
                 e->batches, e->entropy, static_cast<double>(state_.num_tokens),
                 e->accuracy};
    for (const auto& [name, value] : written->items()) {
      line.more.emplace_back(name, value.get<double>());
    }
    line.aux_loss = e->balance;
    values = log_->eval(line);
  }
  if (state_.step == 0) {
    return;  // as in transformers: no rate changes, and nothing is the best yet
  }
  const std::string metric = options_.metric_for_best_model.value_or("loss");
  if (state_.by_metric || options_.metric_for_best_model || saving_.strategy == "best") {
    const double value = metric_value(values, metric);
    count_no_better(value);
    if (state_.by_metric) {
      state_.by_metric->step(value);
    }
    track_best(value);
  }
}

std::optional<Json> Trainer::write_samples() {
  if (!hooks_.write_samples) {
    return Json::object();
  }
  const auto written = hooks_.write_samples(arena_, sharder_.begin_reading());
  if (!written) {
    return std::nullopt;
  }
  written_at_ = state_.step;
  if (log_ != nullptr) {
    fill_state();
    log_->samples(written->samples);
  }
  Json metrics = Json::object();
  for (const auto& [name, value] : written->metrics) {
    metrics[name] = value;
  }
  return metrics;
}

// What is not a number is better than nothing, not even than none.
bool Trainer::is_better(double metric, const std::optional<double>& than) const {
  const bool greater = options_.greater_is_better.value_or(false);
  return std::isfinite(metric) && (!than || (greater ? metric > *than : metric < *than));
}

// As transformers' EarlyStoppingCallback counts: against the best before this evaluation.
void Trainer::count_no_better(double metric) {
  const auto& best = state_.best_metric;
  const bool better =
      !best || (is_better(metric, best) &&
                std::abs(metric - *best) > options_.report.early_stopping_threshold);
  state_.no_better = better ? 0 : state_.no_better + 1;
  if (stops_early()) {
    const std::string text = fmt::format(
        "stops early at step {}: {} evaluation{} in a row {} no better than the best, {:.6g} at "
        "step {}",
        state_.step, state_.no_better, state_.no_better == 1 ? "" : "s",
        state_.no_better == 1 ? "was" : "were", best.value_or(metric), state_.best_step);
    context_.logger.note(text);
    if (log_ != nullptr) {
      log_->event("info", {}, text, "", "stopped-early");
    }
  }
}

bool Trainer::stops_early() const {
  const auto& patience = options_.report.early_stopping_patience;
  return patience && state_.no_better >= *patience;
}

void Trainer::track_best(double metric) {
  if (is_better(metric, state_.best_metric)) {
    state_.best_metric = metric;
    state_.best_step = state_.step;
    new_best_ = true;
  }
  evaluated_ = {state_.step, metric};
  if (last_saved_ == state_.step) {
    note_saved();
  }
}

// This step has a checkpoint: if it was evaluated too, it can be the one to load in the end.
void Trainer::note_saved() {
  const auto best = state_.best_saved ? std::optional(state_.best_saved->metric) : std::nullopt;
  if (evaluated_ && evaluated_->step == state_.step && is_better(evaluated_->metric, best)) {
    state_.best_saved = evaluated_;
  }
}

// What one rank was told all do after the same step; a rank alone does it after this one.
int Trainer::stop_requested() const {
  const int own = context_.stopped_by();
  if (context_.comm.size() == 1) {
    return own;
  }
  return !requested_.stop ? 0 : own != 0 ? own : SIGTERM;
}

bool Trainer::save_requested() const {
  return context_.comm.size() > 1 ? requested_.save
                                  : context_.save_signal != nullptr && *context_.save_signal != 0;
}

TrainOutcome Trainer::run(const std::function<void()>& on_trained) {
  const auto start = Clock::now();
  const int64_t first_step = state_.step;
  if (eval_loader_ && (state_.evaluation_left || (options_.eval_on_start && state_.step == 0))) {
    evaluate_and_track();
    new_best_ = false;  // the step that the run goes on from is saved
  }
  if (state_.step == 0 && !written_at_) {
    write_samples();  // what the model wrote before it was trained
  }
  while (state_.step < state_.total_steps && !stops_early() && stop_requested() == 0) {
    trace_steps(first_step);
    train_step();
    after_step();
    if (hooks_.on_step) {
      hooks_.on_step(
          state_.step, state_.total_steps,
          state_.interval.steps > 0 ? fmt::format("loss {:.3f}", state_.interval.mean_loss()) : "");
    }
  }
  trace_steps(first_step, true);
  if (stop_requested() == 0 && written_at_ != state_.step) {
    write_samples();  // and after, where no evaluation has done so
  }
  return finish(seconds_since(start), first_step, on_trained);
}

TrainOutcome Trainer::finish(double seconds, int64_t first_step,
                             const std::function<void()>& on_trained) {
  context_.comm.progress(0);  // what is left takes what it takes
  TrainOutcome outcome{state_.step, state_.skipped, stop_requested(), last_checkpoint_};
  if ((state_.step < state_.total_steps && !stops_early()) || state_.evaluation_left) {
    if (options_.save_strategy != "no" && last_saved_ != state_.step && state_.step > first_step) {
      save_checkpoint();
    }
    finish_save();
    outcome.last_checkpoint = last_checkpoint_;
    return outcome;
  }
  Postponed errors;  // the model is saved first
  if (options_.load_best_model_at_end || sharder_.scattered()) {
    errors.of([&] { finish_save(); });  // the host's memory holds one state of all ranks, not two
  }
  if (const int64_t best = options_.load_best_model_at_end ? best_to_load() : 0; best > 0) {
    load_best(best);
  }
  if (log_ != nullptr) {
    fill_state();
    const int64_t steps = state_.step - first_step;
    const auto rows_a_step =
        static_cast<double>(options_.per_device_train_batch_size *
                            options_.gradient_accumulation_steps * context_.comm.size());
    TrainSummary summary;
    summary.runtime = seconds;
    summary.steps = steps;
    summary.samples = options_.max_steps > 0
                          ? static_cast<double>(steps) * rows_a_step
                          : static_cast<double>(train_rows_) * options_.num_train_epochs *
                                static_cast<double>(steps) /
                                static_cast<double>(state_.total_steps);
    summary.train_loss =
        state_.total_loss / static_cast<double>(std::max<int64_t>(state_.losses, 1));
    summary.tokens = state_.num_tokens;
    if (state_.interval.batches >
        0) {  // what no log line has shown yet, as TRL adds it to the last one
      summary.entropy = state_.interval.mean_entropy();
      summary.mean_token_accuracy = state_.interval.mean_accuracy();
      if (model_.model.config.balances()) {
        summary.aux_loss = state_.interval.mean_balance();
      }
      summary.num_tokens = static_cast<double>(state_.num_tokens);
    }
    errors.of([&] { log_->finish(summary); });
  }
  if (on_trained) {
    on_trained();
  }
  errors.of([&] { finish_save(); });
  errors.rethrow();
  outcome.last_checkpoint = last_checkpoint_;
  return outcome;
}

}  // namespace sft
