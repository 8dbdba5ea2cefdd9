// What the user can say about data: where it is, how rows become tokens, and which tokens train.
// Names and defaults are TRL's. Used by the loader, the trainer and `sft inspect`.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "options/options.h"

namespace sft {

struct DataOptions {
  // Source
  std::optional<std::string> dataset_name;
  std::optional<std::string> dataset_config;
  std::string dataset_train_split = "train";
  std::string dataset_test_split = "test";
  bool trust_dataset_card = false;
  bool dataset_streaming = false;
  Json datasets;  // mixture: a list of {path, name, data_dir, data_files, split, columns, fraction}
  bool streaming = false;
  std::optional<double> test_split_size;

  // Rows to tokens
  std::string dataset_text_field = "text";
  std::vector<std::string> column_map;  // "question=prompt"
  std::vector<std::string> role_map;    // "human=user"
  std::optional<std::string> messages_field, message_role_key, message_content_key;
  Json dataset_kwargs;
  std::optional<std::string> chat_template_path;
  std::optional<std::string> chat_template_name;
  std::optional<std::string> eos_token;
  std::optional<std::string> pad_token;
  std::optional<int64_t> max_length = 1024;
  std::string truncation_mode = "keep_start";
  bool shuffle_dataset = false;

  // Which tokens train
  std::optional<bool> completion_only_loss;
  bool assistant_only_loss = false;

  // Packing
  bool packing = false;
  std::string packing_strategy = "bfd";
  std::optional<bool> eval_packing;
  bool padding_free = false;
  std::optional<std::string> pad_to_multiple_of = "auto";  // "auto" or a number

  // Order and loading
  std::string train_sampling_strategy = "random";
  std::string dataset_order = "trl";
  std::string length_column_name = "length";
  bool dataloader_drop_last = false;
  int64_t dataloader_num_workers = 0;
  bool dataloader_pin_memory = true;
  bool dataloader_persistent_workers = false;
  std::optional<int64_t> dataloader_prefetch_factor;
  std::optional<int64_t> dataset_num_proc;
  bool data_cache = true;
  bool overwrite_cache = false;
  int64_t data_cache_gb = 50;
  bool remove_unused_columns = true;
  std::optional<std::string> dataloader_multiprocessing_context;
  bool dataloader_in_order = true;
  bool ignore_bias_buffers = false;

  // Only changes how many tokens are counted; 0: not at all, as "auto" is on all but Neuron
  // devices.
  int64_t padding_multiple() const;
  bool packs_eval() const { return eval_packing.value_or(packing); }
  // dataset_kwargs: {"skip_prepare_dataset": true}.
  bool skips_preparation() const;
  void visit(OptionTable& v);
};

}  // namespace sft
