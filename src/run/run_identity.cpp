#include "run/run_identity.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <span>
#include <string>
#include <vector>

#include "io/checksum.h"
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
                                        "use_rslora",
                                        "train_sampling_strategy",
                                        "dataset_order",
                                        "dataset_streaming"};
// Where rows come in windows there are none to compare: what makes them is.
constexpr const char* kWhatMakesWindows[] = {
    "max_length",          "packing_strategy",   "truncation_mode", "completion_only_loss",
    "assistant_only_loss", "dataset_text_field", "shuffle_dataset"};

std::string shown(const Json& value) {
  const std::string text = to_text(value);
  return text.size() <= 60 ? text : text.substr(0, 57) + "...";
}

}  // namespace

Json identity_of(OpenRun& run) {
  const int64_t total = run.steps().total;  // first: it may find another batch size
  const PreparedDataset& rows = run.train();
  const TrainOptions& o = run.options();
  Json identity = {{"rows", rows.size()},
                   {"rows of a step", o.per_device_train_batch_size *
                                          o.gradient_accumulation_steps * run.launch().world},
                   {"seed of the order", o.data_seed.value_or(o.seed)},
                   {"steps", total}};
  const Json values = option_values(o);
  const auto add = [&](std::span<const char* const> names) {
    for (const char* name : names) {
      if (values.contains(name)) {
        identity[fmt::format("--{}", name)] = values[name];
      }
    }
  };
  add(kWhatMatters);
  if (rows.windows() != nullptr) {
    add(kWhatMakesWindows);
  }
  Json config = run.config();
  for (const char* key : kWordsOnly) {
    config.erase(key);
  }
  for (const auto& [key, value] : config.items()) {
    identity[fmt::format("{} of config.json", key)] = value;
  }
  if (rows.windows() == nullptr && rows.size() > 0) {
    constexpr int64_t kSample = 64;
    uint32_t sum = 0;
    for (int64_t i = 0; i < kSample; ++i) {
      const Example e = rows.example((rows.size() - 1) * i / (kSample - 1));
      sum = crc32c(sum, e.input_ids.data(), e.input_ids.size() * sizeof(int32_t));
      sum = crc32c(sum, e.labels.data(), e.labels.size() * sizeof(int32_t));
    }
    identity["the checksum of a sample of the rows"] = fmt::format("{:08x}", sum);
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
