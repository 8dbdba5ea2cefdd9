#include "train/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <numeric>

#include "core/error.h"
#include "core/strings.h"

namespace sft {

int64_t longest_batch(const PreparedDataset& data, int64_t rows) {
  if (data.bound()) {
    return *data.bound() * std::min(rows, data.size());
  }
  std::vector<int64_t> lengths(static_cast<size_t>(data.size()));
  for (int64_t i = 0; i < data.size(); ++i) {
    lengths[static_cast<size_t>(i)] = data.length(i);
  }
  const auto count = static_cast<size_t>(std::min(rows, data.size()));
  std::ranges::partial_sort(lengths, lengths.begin() + static_cast<long>(count), std::greater<>());
  return std::accumulate(lengths.begin(), lengths.begin() + static_cast<long>(count), int64_t{0});
}

namespace {

int64_t activation_bytes(const LoadedModel& model, int64_t tokens, LossType loss,
                         Recompute recompute) {
  const TrainingProgram recorded =
      record_training(model.model, program_size(model.target.device, tokens, tokens, tokens), loss,
                      true, recompute, model.target);
  return plan_memory(recorded.program).bytes;
}

}  // namespace

Recompute plan_run(const std::string& wanted, const LoadedModel& model, const Device& device,
                   int64_t batch_tokens, LossType loss, const Logger& logger) {
  const auto weights = static_cast<double>(model.weights.size());
  const double fixed = 3.0 * weights;  // gradients and both moments; the weights are there already
  const auto free = static_cast<double>(device.free_memory());
  Recompute chosen = wanted == "block" ? Recompute::block : Recompute::none;
  auto activations = static_cast<double>(activation_bytes(model, batch_tokens, loss, chosen));
  if (wanted == "auto" && fixed + activations > free) {
    chosen = Recompute::block;
    activations = static_cast<double>(activation_bytes(model, batch_tokens, loss, chosen));
  }
  logger.note(fmt::format(
      "memory: weights {}, gradients {}, moments {}, activations {} for {} tokens{}; {} free",
      human_bytes(weights), human_bytes(weights), human_bytes(2.0 * weights),
      human_bytes(activations), with_commas(batch_tokens),
      chosen == Recompute::block ? " with block recompute" : "", human_bytes(free)));
  if (fixed + activations > free) {
    throw Error("G010", fmt::format("this run needs {} more memory than the {} that are free",
                                    human_bytes(fixed + activations - free), human_bytes(free)))
        .hint(chosen == Recompute::none ? "add --gradient_checkpointing block, or use a smaller "
                                          "--per_device_train_batch_size or --max_length"
                                        : "use a smaller --per_device_train_batch_size or "
                                          "--max_length, or a smaller model");
  }
  return chosen;
}

void check_lengths(const PreparedDataset& data, const ModelConfig& config) {
  if (data.bound()) {
    return;  // BatchRunner looks at each batch
  }
  for (int64_t i = 0; i < data.size(); ++i) {
    if (data.length(i) <= config.max_positions) {
      continue;
    }
    const Example example = data.example(i);
    const int64_t longest =
        example.documents.empty() ? data.length(i) : *std::ranges::max_element(example.documents);
    if (longest > config.max_positions) {
      throw Error("M037",
                  fmt::format("row {} of the prepared data has {} tokens, but the model has "
                              "{} positions",
                              i, longest, config.max_positions))
          .hint(fmt::format("add --max_length {}", config.max_positions));
    }
  }
}

}  // namespace sft
