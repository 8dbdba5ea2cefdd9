#include "run/run_identity.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/content_hash.h"
#include "core/file.h"
#include "report/rank_facts.h"

namespace sft {

namespace {

// The options that decide what the next step computes. Data, batches and seeds are compared by what
// comes of them.
constexpr const char* kWhatMatters[] = {"learning_rate",
                                        "lr_scheduler_type",
                                        "lr_scheduler_kwargs",
                                        "warmup_steps",
                                        "warmup_ratio",
                                        "weight_decay",
                                        "adam_beta1",
                                        "adam_beta2",
                                        "adam_epsilon",
                                        "max_grad_norm",
                                        "optim",
                                        "loss_type",
                                        "label_smoothing_factor",
                                        "neftune_noise_alpha",
                                        "average_tokens_across_devices",
                                        "bf16",
                                        "fp16",
                                        "packing",
                                        "use_peft",
                                        "lora_r",
                                        "lora_alpha",
                                        "lora_dropout",
                                        "lora_target_modules",
                                        "lora_modules_to_save",
                                        "lora_config",
                                        "use_rslora",
                                        "use_dora",
                                        "load_in_8bit",
                                        "load_in_4bit",
                                        "bnb_4bit_quant_type",
                                        "use_bnb_nested_quant",
                                        "base_dtype",
                                        "mlp_tile",
                                        "train_sampling_strategy",
                                        "dataset_order",
                                        "dataset_streaming"};
// Where rows come in windows there are none to compare: what makes them is.
constexpr const char* kWhatMakesWindows[] = {
    "max_length",          "packing_strategy",   "truncation_mode", "completion_only_loss",
    "assistant_only_loss", "dataset_text_field", "shuffle_dataset"};

// Rows that are made while training runs are told apart by their files: by all that these hold. A
// stream begins without reading them, so its files are told apart by their names and sizes.
std::pair<std::string, std::string> about_files(const std::vector<fs::path>& files, bool streamed) {
  ContentHash hash;
  for (const fs::path& file : files) {
    if (streamed) {
      hash.add(file.filename().string()).add(static_cast<int64_t>(fs::file_size(file)));
    } else {
      hash.add(MappedFile(file).text());
    }
  }
  return {streamed ? "the names and sizes of the data's files" : "the checksum of the data's files",
          hash.hex()};
}

std::string shown(const Json& value) {
  const std::string text = to_text(value);
  return text.size() <= 60 ? text : text.substr(0, 57) + "...";
}

}  // namespace

Json settings_of(OpenRun& run) {
  const TrainOptions& o = run.options();
  Json identity = {{"seed of the order", o.data_seed.value_or(o.seed)}};
  const Json values = option_values(o);
  const auto add = [&](std::span<const char* const> names) {
    for (const char* name : names) {
      if (values.contains(name)) {
        identity[fmt::format("--{}", name)] = values[name];
      }
    }
  };
  add(kWhatMatters);
  if (o.data.dataset_streaming || o.data.dataset_order == "windowed") {
    add(kWhatMakesWindows);
  }
  const Json& init = o.model.model_init_kwargs;
  identity["quantization_config in --model_init_kwargs"] =
      init.is_object() ? init.value("quantization_config", Json()) : Json();
  Json config = run.config();
  for (const char* key : kWordsOnly) {
    config.erase(key);
  }
  for (const auto& [key, value] : config.items()) {
    identity[fmt::format("{} of config.json", key)] = value;
  }
  return identity;
}

Json identity_of(OpenRun& run) {
  const int64_t total = run.steps().total;  // first: it may find another batch size
  const PreparedDataset& rows = run.train();
  const TrainOptions& o = run.options();
  Json identity = settings_of(run);
  identity["rows"] = rows.size();
  identity["rows of a step"] =
      o.per_device_train_batch_size * o.gradient_accumulation_steps * run.launch().world;
  identity["steps"] = total;
  if (const std::string& checksum = run.checksum(Part::train); !checksum.empty()) {
    identity["the checksum of the rows"] = checksum;
  } else if (const std::vector<fs::path>* files = run.train_files()) {
    const auto [key, value] = about_files(*files, o.data.dataset_streaming);
    identity[key] = value;
  }
  return identity;
}

std::string difference(const Json& saved, const Json& identity) {
  std::vector<std::string> differences;
  for (const auto& [key, value] : identity.items()) {
    if (!saved.contains(key) || saved[key] != value) {
      differences.push_back(fmt::format("{} was {} and is {}", key,
                                        saved.contains(key) ? shown(saved[key]) : "not there",
                                        shown(value)));
    }
  }
  return fmt::format("{}", fmt::join(differences, "; "));
}

}  // namespace sft
