#include <fmt/format.h>

#include <cmath>

#include "core/error.h"
#include "core/numbers.h"
#include "core/strings.h"
#include "io/safetensors_writer.h"
#include "optim/metric_schedule.h"
#include "optim/optimizers.h"
#include "optim/schedule.h"
#include "settings/nested_options.h"
#include "settings/report_names.h"
#include "settings/sharding_config/apply.h"
#include "settings/train_options.h"

namespace sft {
namespace {

constexpr int64_t kMostStepRows = kMostCount;

Error conflict(Code code, std::string message) { return {code, std::move(message)}; }

bool is_whole(double value) { return value == std::floor(value); }

// An interval is a share of the run (below 1) or a whole number of steps.
void check_interval(Code code, const char* name, double value) {
  if (value >= 1.0 && !is_whole(value)) {
    throw conflict(
        code, fmt::format("--{} is {}: from 1 up it counts steps, a whole number", name, value));
  }
}

void resolve_logging(TrainOptions& o) {
  tracker_names(o.report_to);  // refuses what is not there
  if (o.logging_strategy == "steps") {
    if (o.logging_steps == 0) {
      throw conflict("C040",
                     "--logging_steps is 0, and --logging_strategy steps logs every N steps")
          .hint("--logging_strategy no");
    }
    check_interval("C040", "logging_steps", o.logging_steps);
  }
}

void resolve_evaluation(TrainOptions& o) {
  if (o.eval_strategy == "steps") {
    if (!o.eval_steps) {
      if (o.logging_steps <= 0) {
        throw conflict("C041", "--eval_strategy steps needs --eval_steps or --logging_steps");
      }
      o.eval_steps = o.logging_steps;
    }
    check_interval("C041", "eval_steps", *o.eval_steps);
  }
  if (o.eval_strategy != "no") {
    o.do_eval = true;
  }
  const bool rate_by_metric = make_metric_schedule(o.optim.lr_scheduler_type, o.optim.learning_rate,
                                                   o.optim.lr_scheduler_kwargs) != nullptr;
  if (o.report.early_stopping_patience && o.eval_strategy == "no") {
    throw conflict("C184",
                   "--early_stopping_patience counts evaluations, and --eval_strategy is no")
        .hint("--eval_strategy steps");
  }
  if (o.report.early_stopping_threshold != 0 && !o.report.early_stopping_patience) {
    throw conflict("C185", "--early_stopping_threshold needs --early_stopping_patience")
        .hint("--early_stopping_patience 3");
  }
  if (o.report.eval_samples > 0 && o.report.eval_prompts) {
    throw conflict("C188", "--eval_samples and --eval_prompts both say what the model answers")
        .hint("leave one of them out");
  }
  if (o.report.eval_samples > 0 && o.eval_strategy == "no" && !o.eval_on_start) {
    throw conflict("C189",
                   "--eval_samples takes rows of the evaluation data, and --eval_strategy is no")
        .hint("--eval_strategy steps, or  --eval_prompts FILE");
  }
  const bool by_metric = o.load_best_model_at_end || o.report.early_stopping_patience ||
                         o.save_strategy == "best" || rate_by_metric;
  if (by_metric && !o.metric_for_best_model) {
    o.metric_for_best_model = "loss";
  }
  if (o.metric_for_best_model) {
    check_metric(*o.metric_for_best_model, o.report.generates());
  }
  if (o.metric_for_best_model && !o.greater_is_better) {
    o.greater_is_better = !o.metric_for_best_model->ends_with("loss");
  }
  if (rate_by_metric && o.eval_strategy == "no") {
    throw conflict("C042", fmt::format("{} follows the evaluation, and --eval_strategy is no",
                                       o.optim.lr_scheduler_type))
        .hint("--eval_strategy steps");
  }
}

void resolve_saving(TrainOptions& o) {
  if (o.save_strategy == "steps") {
    check_interval("C043", "save_steps", o.save_steps);
  }
  if (o.save_strategy == "best" && o.eval_strategy == "no") {
    throw conflict("C044", "--save_strategy best follows the evaluation, and --eval_strategy is no")
        .hint("--eval_strategy steps");
  }
  if (!o.load_best_model_at_end || o.save_strategy == "best") {
    return;
  }
  if (o.eval_strategy != o.save_strategy) {
    throw conflict("C045", fmt::format("--load_best_model_at_end needs a checkpoint for every "
                                       "evaluation, but --eval_strategy is {} and --save_strategy "
                                       "is {}",
                                       o.eval_strategy, o.save_strategy))
        .hint(fmt::format("--save_strategy {0} --eval_strategy {0}",
                          o.eval_strategy == "no" ? o.save_strategy : o.eval_strategy));
  }
  if (o.eval_strategy != "steps") {
    return;
  }
  const double eval = *o.eval_steps;
  const double ratio = o.save_steps / eval;
  if ((o.save_steps < 1) != (eval < 1) || std::abs(ratio - std::round(ratio)) > 1e-9) {
    throw conflict("C046", fmt::format("--load_best_model_at_end: --save_steps is {}, it must be a "
                                       "multiple of --eval_steps, which is {}",
                                       o.save_steps, eval))
        .hint(fmt::format("--save_steps {}", eval));
  }
}

// What a mixture that is streamed cannot have.
void resolve_streamed_mixture(TrainOptions& o) {
  if (!o.data.streaming) {
    return;
  }
  if (!o.data.datasets.is_array() || o.data.datasets.empty()) {
    o.notes.emplace_back("streaming is for --datasets; one data set has --dataset_streaming");
    return;
  }
  for (const Json& entry : o.data.datasets) {
    if (entry.is_object() && !entry.value("fraction", Json()).is_null()) {
      throw conflict("C078", "--streaming: a data set with a `fraction` needs its number of rows")
          .hint("leave fraction out, or streaming");
    }
  }
  if (o.data.test_split_size) {
    throw conflict("C078", "--streaming: --test_split_size needs the number of rows")
        .hint("leave one of the two out");
  }
  o.data.dataset_streaming = true;
}

void resolve_data(TrainOptions& o) {
  resolve_streamed_mixture(o);
  if (o.legacy.group_by_length) {
    o.data.train_sampling_strategy = "group_by_length";
  }
  const bool by_length = o.data.train_sampling_strategy == "group_by_length" ||
                         o.data.train_sampling_strategy == "batch_rebalance";
  if (by_length && (o.data.dataset_streaming || o.data.dataset_order == "windowed")) {
    o.notes.push_back(
        fmt::format("train_sampling_strategy {} does nothing where rows come in order",
                    o.data.train_sampling_strategy));
  }
  if (o.data.packing_strategy == "bfd-requeue") {
    o.data.packing_strategy = "bfd_split";
    o.notes.emplace_back("packing_strategy bfd-requeue is now called bfd_split");
  }
  if (o.data.packing && !o.data.max_length) {
    throw conflict("C047",
                   "--packing fills sequences of --max_length tokens, and --max_length is "
                   "none")
        .hint("--max_length 1024");
  }
  if (o.data.dataset_streaming && o.max_steps <= 0) {
    throw conflict("C049",
                   "--dataset_streaming does not know where the data end, and --max_steps "
                   "is not given")
        .hint("--max_steps 1000");
  }
  if (o.data.dataset_streaming && o.data.dataset_order == "windowed") {
    throw conflict("C080",
                   "--dataset_order windowed finds rows at random, and --dataset_streaming "
                   "reads them once, in order")
        .hint("leave one of the two out");
  }
  if (o.data.padding_free && !o.data.packing && o.data.max_length) {
    if (o.is_set("max_length")) {
      o.notes.emplace_back("padding_free: rows are still cut at max_length (TRL refuses this)");
    }
  }
  if (o.data.packing && o.data.packing_strategy == "wrapped") {
    o.notes.emplace_back(
        "packing_strategy wrapped: one stream, in which attention crosses from row to row");
  }
  if (o.data.dataloader_prefetch_factor && o.data.dataloader_num_workers == 0) {
    throw conflict("C048", "--dataloader_prefetch_factor needs --dataloader_num_workers above 0");
  }
}

// Rows are counted in 64 bits, and in doubles where they are averaged.
void check_step_size(const TrainOptions& o, int64_t ranks) {
  const auto rows = product({o.per_device_train_batch_size, o.gradient_accumulation_steps, ranks});
  if (!rows || *rows > kMostStepRows) {
    throw conflict(
        "C067",
        fmt::format("a step of {} rows (--per_device_train_batch_size) x {} "
                    "(--gradient_accumulation_steps) x {} ranks has more than {} rows",
                    with_commas(o.per_device_train_batch_size),
                    with_commas(o.gradient_accumulation_steps), ranks, with_commas(kMostStepRows)))
        .hint("--gradient_accumulation_steps 1");
  }
}

void resolve_loss(TrainOptions& o) {
  if (o.optim.label_smoothing_factor > 0 && o.loss_type == "dft") {
    o.notes.emplace_back("label_smoothing_factor does nothing with loss_type dft, as in TRL");
  }
  if (o.include_num_input_tokens_seen == "true" || o.include_num_input_tokens_seen == "false") {
    o.include_num_input_tokens_seen = o.include_num_input_tokens_seen == "true" ? "all" : "no";
  }
}

void resolve_precision(TrainOptions& o) {
  if (o.bf16_full_eval && o.fp16_full_eval) {
    throw conflict("C050", "--fp16_full_eval and --bf16_full_eval exclude each other");
  }
  if (o.fp16 && o.bf16.value_or(false)) {
    throw conflict("C050", "--fp16 and --bf16 exclude each other");
  }
  if (o.model.dtype == "float16") {
    throw conflict("C054", "--dtype float16 would train weights in float16, too coarse for updates")
        .hint(
            "--fp16 computes in float16 with float32 weights; --dtype bfloat16 trains them in "
            "bfloat16");
  }
  if (o.model.dtype == "bfloat16") {
    if (o.wants_fp16()) {
      throw conflict("C050",
                     "--fp16 computes in float16, and --dtype bfloat16 has no weights for it")
          .hint("leave one of the two out");
    }
    o.notes.emplace_back(
        "dtype bfloat16: weights are trained in bfloat16 with stochastic rounding, without float32 "
        "masters; gradients are summed in float32");
  }
}

void check_optimizer(const TrainOptions& o) {
  const OptimizerSettings settings = optimizer_settings(o.optim, 0);  // C180
  if (settings.whole != WholeStep::none &&
      (o.sharding.offload_optimizer || o.sharding.offload_param)) {
    throw conflict("C181", fmt::format("--optim {} needs whole gradients on the device, and "
                                       "--offload_optimizer updates pieces in the host's memory",
                                       o.optim.optim))
        .hint("leave the offload out, or take --optim adamw_torch");
  }
}

void resolve_schedule(TrainOptions& o) {
  // Building it once checks its arguments before anything is loaded.
  make_schedule(o.optim.lr_scheduler_type,
                {o.optim.learning_rate, 0, 1000000, o.optim.lr_scheduler_kwargs});
  if (o.optim.warmup_ratio && o.optim.warmup_steps > 0) {
    o.notes.emplace_back("warmup_steps is given, so warmup_ratio does not count");
  }
  if (o.optim.warmup_steps > 1 && !is_whole(o.optim.warmup_steps)) {
    throw conflict("C051", fmt::format("--warmup_steps is {}: from 1 up it counts steps, a whole "
                                       "number",
                                       o.optim.warmup_steps));
  }
}

void resolve_output(TrainOptions& o) {
  if (o.output_dir.empty()) {
    throw conflict("C052", "--output_dir is empty");
  }
  o.max_shard_bytes();  // refuses what is not a size
  if (o.resume_from_checkpoint) {
    const std::string word = to_lower(*o.resume_from_checkpoint);
    if (word == "false" || word == "no" || word.empty()) {
      o.resume_from_checkpoint.reset();
    } else if (word == "yes" || word == "latest" || word == "true") {
      o.resume_from_checkpoint = word == "latest" ? "latest" : "true";
    }
  }
}

}  // namespace

TrainOptions validate(TrainOptions options, const Ranks& ranks) {
  resolve_nested(options);
  resolve_output(options);
  resolve_loss(options);
  resolve_logging(options);
  resolve_evaluation(options);
  resolve_saving(options);
  resolve_data(options);
  check_step_size(options, ranks.all);
  apply_sharding_configs(options, ranks);
  check_step_size(options, ranks.all);  // DeepSpeed's JSON may have said other numbers
  resolve_precision(options);
  check_optimizer(options);
  resolve_schedule(options);
  return options;
}

void require_model(const TrainOptions& options) {
  if (!options.model.model_name_or_path) {
    throw Error("C030", "no model is given")
        .hint("--model_name_or_path Qwen/Qwen2.5-0.5B, or a folder or .gguf file");
  }
}

void require_data(const TrainOptions& options) {
  if (!options.data.dataset_name && options.data.datasets.empty()) {
    throw Error("C031", "no data set is given")
        .hint("--dataset_name train.jsonl, or a folder or a data set in the hub cache");
  }
}

std::string TrainOptions::recompute() const {
  if (gradient_checkpointing == "true") {
    return "block";
  }
  return gradient_checkpointing == "false" ? "none" : gradient_checkpointing;
}

int64_t TrainOptions::max_shard_bytes() const {
  return static_cast<int64_t>(parse_byte_size(max_shard_size));
}

TrainOptions complete(TrainOptions options, ParsedOptions parsed, const Ranks& ranks) {
  options.set_by = std::move(parsed.set_by);
  options.notes = std::move(parsed.notes);
  options.details = std::move(parsed.inert);
  options.environment = std::move(parsed.env);
  return validate(std::move(options), ranks);
}

TrainOptions read_train_options(std::span<const std::string> args, const Ranks& ranks) {
  TrainOptions options;
  OptionTable table;
  options.visit(table);
  ParsedOptions parsed = parse_options(table, args);
  return complete(std::move(options), std::move(parsed), ranks);
}

}  // namespace sft
