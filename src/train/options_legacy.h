// Options of launchers and of the hub, and those that are known so that commands written for TRL
// and its older versions are understood.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/options.h"

namespace sft {

struct DistributedOptions {
  int64_t num_processes = 1;
  int64_t num_machines = 1;
  int64_t machine_rank = 0;
  std::optional<std::string> main_process_ip;
  std::optional<int64_t> main_process_port;
  std::optional<std::string> mixed_precision;
  std::optional<std::string> accelerate_config;
  std::optional<std::string> config_file;
  int64_t local_rank = -1;
  std::optional<std::string> ddp_backend;
  int64_t ddp_timeout = 1800;
  bool require_token = false;
  std::optional<bool> ddp_find_unused_parameters;
  std::optional<int64_t> ddp_bucket_cap_mb;
  std::optional<bool> ddp_broadcast_buffers;
  std::optional<bool> ddp_static_graph;
  std::optional<std::string> fsdp;
  Json fsdp_config;
  Json deepspeed;
  Json accelerator_config;
  Json parallelism_config;

  void visit(OptionTable& v);
};

struct HubOptions {
  bool push_to_hub = false;
  std::optional<std::string> hub_model_id;
  std::optional<std::string> hub_token;
  std::optional<bool> hub_private_repo;
  std::string hub_strategy = "every_save";
  bool hub_always_push = false;
  std::optional<std::string> hub_revision;
  std::optional<std::string> push_to_hub_model_id;
  std::optional<std::string> push_to_hub_organization;
  std::optional<std::string> push_to_hub_token;

  void visit(OptionTable& v);
};

struct LegacyOptions {
  std::optional<int64_t> num_of_sequences;
  std::optional<double> chars_per_token;
  std::optional<int64_t> dataset_batch_size;
  bool gradient_checkpointing_use_reentrant = false;
  std::optional<std::string> logging_dir;
  bool group_by_length = false;
  bool include_tokens_per_second = false;
  std::optional<std::string> fp16_backend;
  std::optional<std::string> half_precision_backend;
  std::optional<std::string> fp16_opt_level;
  bool use_mps_device = false;
  std::optional<bool> dispatch_batches;
  std::optional<bool> split_batches;
  std::optional<std::string> torchdynamo;
  bool use_cache = false;
  std::optional<std::string> debug;
  bool skip_memory_metrics = true;
  std::vector<std::string> label_names;
  std::vector<std::string> include_for_metrics;
  bool include_inputs_for_metrics = false;
  bool batch_eval_metrics = false;
  bool eval_do_concat_batches = true;
  bool eval_use_gather_object = false;
  std::optional<std::string> trackio_space_id;
  std::optional<std::string> trackio_bucket_id;
  std::optional<std::string> trackio_static_space_id;

  void visit(OptionTable& v);
};

}  // namespace sft
