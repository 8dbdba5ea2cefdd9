#include "settings/train_options.h"

#include "core/numbers.h"
#include "io/safetensors_writer.h"

namespace sft {
namespace {

void visit_output(TrainOptions& o, OptionTable& v) {
  v.group("Output");
  v("output_dir", &o.output_dir, "Folder of the model, its checkpoints and the log.");
  v("overwrite_output_dir", &o.overwrite_output_dir, "Write into a folder that is not empty.")
      .inert("an existing folder is always written into");
  v("save_dtype", &o.save_dtype, "Type of saved weights; auto: that of the source model's files.")
      .one_of({"auto", "float32", "bfloat16", "float16"});
  v("max_shard_size", &o.max_shard_size, "Largest weights file: 5GB, 200MB, 1GiB.")
      .read_by([](const std::string& size) { parse_byte_size(size); });
  v("export", &o.exports,
    "When training is done also write the model for llama.cpp, Ollama and LM Studio: gguf:q4_k_m, "
    "or another format of sft export; several, with spaces between.");
  const char* trains = "this command always trains, and evaluates as eval_strategy says";
  v("do_train", &o.do_train, "Train.").inert(trains);
  v("do_eval", &o.do_eval, "Evaluate.").inert(trains);
  v("do_predict", &o.do_predict, "Predict.").inert(trains);
}

void visit_length(TrainOptions& o, OptionTable& v) {
  v.group("Length and batch size");
  v("num_train_epochs", &o.num_train_epochs, "Passes over the data; fractions count.")
      .above(0)
      .at_most(kMostCount);
  v("max_steps", &o.max_steps, "Optimizer steps; above 0 it replaces num_train_epochs.")
      .at_least(-1);
  v("per_device_train_batch_size", &o.per_device_train_batch_size, "Rows in a batch.")
      .at_least(1)
      .alias("per_gpu_train_batch_size");
  v("per_device_eval_batch_size", &o.per_device_eval_batch_size, "Rows in a batch of evaluation.")
      .at_least(1)
      .alias("per_gpu_eval_batch_size");
  v("gradient_accumulation_steps", &o.gradient_accumulation_steps, "Batches in a step.")
      .at_least(1);
  v("auto_find_batch_size", &o.auto_find_batch_size,
    "Take a tenth off the batch until it fits, by the plan of the memory.");
}

void visit_loss(TrainOptions& o, OptionTable& v) {
  v.group("Loss");
  v("loss_type", &o.loss_type,
    "nll, of which chunked_nll is an older name (logits are never held whole), or dft: dynamic "
    "fine-tuning.")
      .one_of({"nll", "dft", "chunked_nll"});
  v("use_liger_kernel", &o.use_liger_kernel, "Fused kernels of Liger.")
      .alias("use_liger")
      .inert("what it fuses is always fused, and the loss is the same");
  v("liger_kernel_config", &o.liger_kernel_config, "Which of them.")
      .inert("what it fuses is always fused");
  v("neftune_noise_alpha", &o.neftune_noise_alpha,
    "NEFTune: noise on the embeddings while training, at most this over the square root of a "
    "batch's length times the hidden size.")
      .at_least(0);
}

void visit_precision(TrainOptions& o, OptionTable& v) {
  v.group("Precision and memory");
  v("bf16", &o.bf16, "Train in bfloat16 where the device has it; none: the same.");
  v("fp16", &o.fp16,
    "Compute in float16 on a GPU, with float32 weights and a dynamic loss scale as "
    "torch.amp.GradScaler has it.");
  const char* within =
      "as in TRL, whose evaluations are all within training, where it does nothing";
  v("bf16_full_eval", &o.bf16_full_eval, "Evaluate in bfloat16.").inert(within);
  v("fp16_full_eval", &o.fp16_full_eval, "Evaluate in float16.").inert(within);
  v("tf32", &o.tf32,
    "Multiply float32 matrices (--bf16 false) in TensorFloat-32 on a GPU; none: no.");
  v("gradient_checkpointing", &o.gradient_checkpointing,
    "Compute activations again instead of keeping them: norms, also the mlp, or the whole block; "
    "auto takes the cheapest that fits, true is block. Results are the same bits.")
      .one_of({"true", "false", "auto", "none", "norms", "mlp", "block"})
      .bare("true")
      .alias("activation_checkpointing");
  v("gradient_checkpointing_kwargs", &o.gradient_checkpointing_kwargs, "Torch's variants of it.")
      .alias("activation_checkpointing_kwargs")
      .inert("there is one kind of recomputation, and its results are the same bits");
  v("activation_offloading", &o.activation_offloading,
    "Keep what the backward pass reads in the host's memory; with gradient_checkpointing auto only "
    "where recomputing whole blocks does not fit.");
  v("mlp_tile", &o.mlp_tile,
    "Tokens whose MLP is computed at a time, forward and backward, and whose logits are held, "
    "where "
    "only adapters are trained: for long documents. 0: all.")
      .at_least(0);
  const char* compiled = "the program is recorded, planned and replayed in any case";
  v("torch_compile", &o.torch_compile, "Compile the model.").inert(compiled);
  v("torch_compile_backend", &o.torch_compile_backend, "With what.").inert(compiled);
  v("torch_compile_mode", &o.torch_compile_mode, "How.").inert(compiled);
  v("torch_empty_cache_steps", &o.torch_empty_cache_steps, "Return cached memory every N steps.")
      .at_least(1)
      .inert("memory is planned before the run, there is no cache");
  v("use_cpu", &o.use_cpu, "Use the CPU even where there is a GPU.").alias("no_cuda");
  v("threads", &o.threads, "CPU threads; 0: the physical cores.").at_most(kMostThreads);
}

void visit_logging(TrainOptions& o, OptionTable& v) {
  v.group("Logging");
  v("logging_strategy", &o.logging_strategy, "When to log.").one_of({"no", "steps", "epoch"});
  v("logging_steps", &o.logging_steps, "Every N steps; below 1, a share of all steps.")
      .at_most(kMostCount);
  v("logging_first_step", &o.logging_first_step, "Log the first step too.");
  v("disable_tqdm", &o.disable_tqdm, "No progress bar.");
  v("run_name", &o.run_name, "A name for the run, in metrics.jsonl and trackers.");
  v("report_to", &o.report_to,
    "Trackers that follow the run: wandb (offline), tensorboard, all or none.");
  v("include_num_input_tokens_seen", &o.include_num_input_tokens_seen,
    "Log num_input_tokens_seen too: all counts the padding that TRL's batches have, true is all.")
      .one_of({"no", "all", "non_padding", "true", "false"})
      .bare("true");
  v("logging_nan_inf_filter", &o.logging_nan_inf_filter, "Hide losses that are not finite.")
      .inert("they are always shown, the step is skipped, and three in a row end the run");
  const char* level = "use -q and -v";
  v("log_level", &o.log_level, "Python's log level.").inert(level);
  v("log_level_replica", &o.log_level_replica, "On the other ranks.").inert(level);
  v("log_on_each_node", &o.log_on_each_node, "Log on every machine.").inert(level);
  v("profile", &o.profile, "Write a trace of a few steps to this file; Perfetto opens it.");
  v("profile_steps", &o.profile_steps, "Steps in that trace, from the third of the run.")
      .at_least(1);
  v("project", &o.project, "wandb's project, where WANDB_PROJECT does not say it.");
}

void visit_evaluation(TrainOptions& o, OptionTable& v) {
  v.group("Evaluation");
  v("eval_strategy", &o.eval_strategy, "When to evaluate.")
      .one_of({"no", "steps", "epoch"})
      .alias("evaluation_strategy");
  v("eval_steps", &o.eval_steps, "Every N steps; none: as logging_steps.")
      .above(0)
      .at_most(kMostCount);
  v("eval_delay", &o.eval_delay, "Steps or epochs before the first evaluation.")
      .at_most(kMostCount);
  v("eval_on_start", &o.eval_on_start, "Evaluate before training.");
  v("eval_accumulation_steps", &o.eval_accumulation_steps, "Move predictions off the device.")
      .inert("predictions are never held");
  v("prediction_loss_only", &o.prediction_loss_only, "Only the loss.")
      .inert("accuracy and entropy come out of the same pass");
}

void visit_checkpoints(TrainOptions& o, OptionTable& v) {
  v.group("Checkpoints");
  v("save_strategy", &o.save_strategy, "When to save; best: when the metric improved.")
      .one_of({"no", "steps", "epoch", "best"});
  v("save_steps", &o.save_steps, "Every N steps; below 1, a share of all steps.")
      .above(0)
      .at_most(kMostCount);
  v("save_total_limit", &o.save_total_limit, "Checkpoints kept; none: all.").at_least(1);
  v("save_only_model", &o.save_only_model, "Leave out what resuming needs.");
  v("load_best_model_at_end", &o.load_best_model_at_end, "End with the best checkpoint.");
  v("metric_for_best_model", &o.metric_for_best_model, "What is best by; none: loss.");
  v("greater_is_better", &o.greater_is_better, "Which way; none: lower, for a loss.");
  v("resume_from_checkpoint", &o.resume_from_checkpoint,
    "true or latest: the newest checkpoint of the run that was last in output_dir, if there is "
    "one; else a path.")
      .bare("true");
  v("resume_with_changes", &o.resume_with_changes,
    "Resume even when model, data or options that matter have changed; with other batches, after "
    "the rows that the epoch has seen.");
  v("save_safetensors", &o.save_safetensors, "Save weights as safetensors.")
      .planned("there is no other format");
  v("save_on_each_node", &o.save_on_each_node, "Save on every machine.")
      .inert("rank 0 alone saves, for all machines");
  v("enable_jit_checkpoint", &o.enable_jit_checkpoint, "Save when the run is told to stop.")
      .inert("a signal that ends a run always saves");
  v("ignore_data_skip", &o.ignore_data_skip, "Resume at the beginning of the epoch's data.");
  v("restore_callback_states_from_checkpoint", &o.restore_callback_states_from_checkpoint,
    "Restore Python callbacks.")
      .inert("there are no callbacks");
}

void visit_seeds(TrainOptions& o, OptionTable& v) {
  v.group("Seeds");
  v("seed", &o.seed, "Seed of everything random.").at_most(kMostSeed);
  v("data_seed", &o.data_seed, "Seed of the rows' order; none: seed.").at_most(kMostSeed);
  v("full_determinism", &o.full_determinism, "Same bits every time.")
      .inert("the same seed and thread count always give the same bits");
}

void visit_terminal(TrainOptions& o, OptionTable& v) {
  v.group("Terminal");
  v("color", &o.color, "Colour on the terminal.")
      .one_of({"auto", "always", "never"})
      .only_on_command_line();
  v("quiet", &o.quiet, "Warnings only; -qq: errors only.").short_name('q').only_on_command_line();
  v("verbose", &o.verbose, "Say what is decided and why.").short_name('v').only_on_command_line();
  v("json", &o.json, "Results as JSON on stdout.").only_on_command_line();
  v("dry_run", &o.dry_run, "Say what the run would do and take, and end; nothing is written.")
      .only_on_command_line();
}

}  // namespace

void TrainOptions::visit(OptionTable& v) {
  model.visit(v);
  data.visit(v);
  visit_output(*this, v);
  visit_length(*this, v);
  visit_loss(*this, v);
  optim.visit(v);
  visit_precision(*this, v);
  visit_logging(*this, v);
  visit_evaluation(*this, v);
  visit_checkpoints(*this, v);
  visit_seeds(*this, v);
  v.group("Several devices");
  sharding.visit(v);
  distributed.visit(v);
  report.visit(v);
  hub.visit(v);
  legacy.visit(v);
  visit_terminal(*this, v);
  v.foreign(foreign_option_names());
}

}  // namespace sft
