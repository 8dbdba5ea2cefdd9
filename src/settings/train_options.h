// All options of a training run: data, model and optimizer options and the run's own. Names and
// defaults are TRL's. Read by `read_train_options`; used by the trainer and `sft config`.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/options.h"
#include "model/options.h"
#include "optim/options.h"
#include "optim/sharding_options.h"
#include "options/options.h"
#include "options/parser.h"
#include "settings/distributed_options.h"
#include "settings/hub_options.h"
#include "settings/legacy_options.h"
#include "settings/report_options.h"
#include "settings/sharding_config/launch_request.h"

namespace sft {

struct TrainOptions {
  ModelOptions model;
  DataOptions data;
  OptimOptions optim;
  ShardingOptions sharding;
  DistributedOptions distributed;
  HubOptions hub;
  ReportOptions report;
  LegacyOptions legacy;

  // Output and what is done
  std::string output_dir = "trainer_output";
  bool overwrite_output_dir = false;
  bool do_train = false;
  bool do_eval = false;
  bool do_predict = false;
  std::string save_dtype = "auto";  // auto: that of the source model's files
  std::string max_shard_size = "50GB";
  std::vector<std::string> exports;  // "gguf:q4_k_m"

  // Length and batch
  double num_train_epochs = 3.0;
  int64_t max_steps = -1;  // > 0: overrides num_train_epochs
  int64_t per_device_train_batch_size = 8;
  int64_t per_device_eval_batch_size = 8;
  int64_t gradient_accumulation_steps = 1;
  bool auto_find_batch_size = false;

  // Loss
  std::string loss_type = "nll";
  bool use_liger_kernel = false;
  Json liger_kernel_config;
  std::optional<double> neftune_noise_alpha;

  // Precision and memory
  std::optional<bool> bf16;
  // --bf16, or what accelerate's mixed_precision says.
  std::optional<bool> wants_bf16() const {
    if (model.dtype == "bfloat16") {
      return true;  // there are no other weights to compute with
    }
    return bf16 || !distributed.mixed_precision ? bf16 : *distributed.mixed_precision == "bf16";
  }
  bool fp16 = false;
  bool wants_fp16() const { return fp16 || (!bf16 && distributed.mixed_precision == "fp16"); }
  bool bf16_full_eval = false;
  bool fp16_full_eval = false;
  std::optional<bool> tf32;
  std::string gradient_checkpointing = "auto";
  Json gradient_checkpointing_kwargs;
  bool activation_offloading = false;
  int64_t mlp_tile = 0;
  bool torch_compile = false;
  std::optional<std::string> torch_compile_backend;
  std::optional<std::string> torch_compile_mode;
  std::optional<int64_t> torch_empty_cache_steps;
  bool use_cpu = false;
  int64_t threads = 0;  // 0: the physical cores

  // Logging
  std::string logging_strategy = "steps";
  double logging_steps = 10;  // below 1: a share of all steps; so are eval_steps and save_steps
  bool logging_first_step = false;
  bool logging_nan_inf_filter = true;
  std::string include_num_input_tokens_seen = "no";
  std::string log_level = "passive";
  std::string log_level_replica = "warning";
  bool log_on_each_node = true;
  std::optional<bool> disable_tqdm;
  std::vector<std::string> report_to{"none"};
  std::optional<std::string> run_name;
  std::string project = "huggingface";
  std::optional<std::string> profile;  // a file
  int64_t profile_steps = 3;

  // Evaluation
  std::string eval_strategy = "no";
  std::optional<double> eval_steps;
  double eval_delay = 0;
  bool eval_on_start = false;
  std::optional<int64_t> eval_accumulation_steps;
  bool prediction_loss_only = false;

  // Checkpoints
  std::string save_strategy = "steps";
  double save_steps = 500;
  std::optional<int64_t> save_total_limit;
  bool save_only_model = false;
  bool save_on_each_node = false;
  bool save_safetensors = true;
  bool enable_jit_checkpoint = false;
  bool load_best_model_at_end = false;
  std::optional<std::string> metric_for_best_model;
  std::optional<bool> greater_is_better;
  std::optional<std::string> resume_from_checkpoint;  // "true", "latest" or a path
  bool resume_with_changes = false;
  bool ignore_data_skip = false;
  bool restore_callback_states_from_checkpoint = false;

  // Seeds
  int64_t seed = 42;
  std::optional<int64_t> data_seed;
  bool full_determinism = false;

  // Terminal; not part of the saved configuration
  std::string color = "auto";
  int64_t quiet = 0;
  int64_t verbose = 0;
  bool json = false;
  bool dry_run = false;

  // Filled by read_train_options
  LaunchRequest launch;  // what accelerate's YAML says of processes and machines
  std::map<std::string, std::string> set_by;  // option -> "--flag" or "recipe.yaml:3"
  std::vector<std::string> notes;             // one line each, for Logger::note
  std::vector<std::string> details;           // one line each, for Logger::detail
  std::vector<std::pair<std::string, std::string>> environment;  // the YAML's `env:`

  bool is_set(const std::string& name) const { return set_by.contains(name); }
  // "none", "block" or "auto": gradient_checkpointing with true, false spelled out.
  std::string recompute() const;
  int64_t max_shard_bytes() const;  // C090 when max_shard_size is not a size

  void visit(OptionTable& v);
};

// Parses, refuses what is not built, and validates. `ranks`: how many run, for what depends on it
// (DeepSpeed's batch sizes, hybrid sharding).
TrainOptions read_train_options(std::span<const std::string> args, const Ranks& ranks = {});
// The same where these options are parsed with others: with what was found besides their values.
TrainOptions complete(TrainOptions options, ParsedOptions parsed, const Ranks& ranks = {});

// What the options of other programs are called here (options_foreign.cpp).
std::span<const ForeignNames> foreign_option_names();

// The rules that span options, in one place; returns the options with what follows from others
// filled in (eval_steps, metric_for_best_model, ...) and adds to `notes`. Errors: C040-C059.
TrainOptions validate(TrainOptions options, const Ranks& ranks = {});

// What a run needs beyond valid options: C030 without a model, C031 without a data set.
void require_model(const TrainOptions& options);
void require_data(const TrainOptions& options);

}  // namespace sft
