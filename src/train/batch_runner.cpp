#include "train/batch_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/error.h"

namespace sft {

int64_t ladder_size(int64_t tokens) {
  const auto power = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(tokens)));
  const int64_t step = std::max<int64_t>(16, power / 16);
  return (tokens + step - 1) / step * step;
}

BatchRunner::BatchRunner(Device& device, Arena& arena, const LoadedModel& model, float* gradients,
                         const BatchRunnerOptions& options)
    : device_(device), arena_(arena), model_(model), options_(options) {
  bindings_.parameters = model.parameters();
  if (gradients != nullptr) {
    bindings_.gradients = model.views(gradients);
  }
}

BatchRunner::Sized& BatchRunner::sized(int64_t tokens) {
  auto found = programs_.find(tokens);
  if (found == programs_.end()) {
    TrainingProgram recorded = record_training(model_.model, tokens, tokens, options_.loss,
                                               options_.training, options_.recompute);
    found = programs_
                .emplace(tokens, Sized{Executor(device_, arena_, std::move(recorded.program)),
                                       recorded.stats})
                .first;
  }
  return found->second;
}

LossStats BatchRunner::run(const MicroBatch& batch, float loss_scale, bool first) {
  const auto tokens = static_cast<int64_t>(batch.tokens.size());
  const int64_t size = ladder_size(tokens);
  const auto vocab = static_cast<int32_t>(model_.model.config.vocab);
  for (size_t i = 0; i < batch.tokens.size(); ++i) {
    const int32_t token = batch.tokens[i];
    const int32_t id = token < 0 ? token : std::max(token, batch.targets[i]);
    if (id < 0 || id >= vocab) {
      throw Error("M036", fmt::format("token id {} is not in the model's vocabulary of {}", id,
                                      model_.model.config.vocab))
          .hint("the tokenizer and the model do not belong together");
    }
  }
  for (size_t d = 1; d < batch.cu_seqlens.size(); ++d) {
    const int64_t length = batch.cu_seqlens[d] - batch.cu_seqlens[d - 1];
    if (length > model_.model.config.max_positions) {
      throw Error("M037", fmt::format("a row has {} tokens, but the model has {} positions", length,
                                      model_.model.config.max_positions))
          .hint(fmt::format("add --max_length {}", model_.model.config.max_positions));
    }
  }
  const auto padded = [&](const std::vector<int32_t>& values, int32_t fill) {
    std::vector<int32_t> out = values;
    out.resize(static_cast<size_t>(size), fill);
    return out;
  };
  std::vector<int32_t> ids = padded(batch.tokens, 0);
  std::vector<int32_t> positions = padded(batch.positions, 0);
  std::vector<int32_t> targets = padded(batch.targets, kIgnored);
  std::vector<int32_t> documents = batch.cu_seqlens;
  const auto bind = [&](const char* name, std::vector<int32_t>& v) {
    bindings_.inputs[name] = {v.data(), {static_cast<int64_t>(v.size())}, DType::i32};
  };
  bind("tokens", ids);
  bind("positions", positions);
  bind("targets", targets);
  bind("documents", documents);
  bindings_.inputs["loss_scale"] = {&loss_scale, {1}, DType::f32};
  bindings_.first_micro_batch = first;
  Sized& program = sized(size);
  program.executor.run(bindings_);
  const float* stats = program.executor.tensor(program.stats).f32();
  return {stats[0], stats[1], stats[2], stats[3]};
}

}  // namespace sft
