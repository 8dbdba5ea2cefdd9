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

double activation_bytes(const Model& model, const Target& target, int64_t tokens, LossType loss,
                        Recompute recompute) {
  const TrainingProgram recorded = record_training(
      model, program_size(target.device, tokens, tokens, tokens), loss, true, recompute, target);
  return static_cast<double>(plan_memory(recorded.program).bytes);
}

}  // namespace

std::string MemoryPlan::line() const {
  return fmt::format(
      "memory: weights {}, gradients {}, moments {}, activations {} for {} tokens{}; {} free",
      human_bytes(weights), human_bytes(gradients), human_bytes(moments), human_bytes(activations),
      with_commas(batch_tokens), recompute == Recompute::block ? " with block recompute" : "",
      human_bytes(free));
}

MemoryPlan estimate_memory(const std::string& wanted, const Model& model, const Device& device,
                           DType compute, int64_t batch_tokens, LossType loss,
                           bool weights_loaded) {
  const Target target{device.kind(), compute};
  MemoryPlan plan;
  plan.weights = static_cast<double>(model.layout.elements) * sizeof(float);
  plan.gradients = plan.weights;
  plan.moments = 2.0 * plan.weights;
  if (compute != DType::f32) {  // the copy that programs read
    plan.weights +=
        static_cast<double>(model.layout.elements) * static_cast<double>(size_of(compute));
  }
  plan.free = static_cast<double>(device.free_memory());
  plan.weights_loaded = weights_loaded;
  plan.batch_tokens = batch_tokens;
  plan.recompute = wanted == "block" ? Recompute::block : Recompute::none;
  plan.activations = activation_bytes(model, target, batch_tokens, loss, plan.recompute);
  if (wanted == "auto" && !plan.fits()) {
    plan.recompute = Recompute::block;
    plan.activations = activation_bytes(model, target, batch_tokens, loss, plan.recompute);
  }
  return plan;
}

Recompute plan_run(const std::string& wanted, const LoadedModel& model, const Device& device,
                   int64_t batch_tokens, LossType loss, const Logger& logger) {
  const MemoryPlan plan =
      estimate_memory(wanted, model.model, device, model.target.compute, batch_tokens, loss, true);
  logger.note(plan.line());
  if (!plan.fits()) {
    throw Error("G010", fmt::format("this run needs {} more memory than the {} that are free",
                                    human_bytes(plan.needed() - plan.free), human_bytes(plan.free)))
        .hint(plan.recompute == Recompute::none
                  ? "add --gradient_checkpointing block, or use a smaller "
                    "--per_device_train_batch_size or --max_length"
                  : "use a smaller --per_device_train_batch_size or "
                    "--max_length, or a smaller model");
  }
  return plan.recompute;
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
