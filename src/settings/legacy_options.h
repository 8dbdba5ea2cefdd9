// Options that are known so that commands written for TRL and its older versions are understood.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "options/options.h"

namespace sft {

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
