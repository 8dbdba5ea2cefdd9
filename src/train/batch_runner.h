// Runs micro-batches through the model's programs: one program for each size of a short ladder, all
// in one arena.
#pragma once

#include <map>
#include <memory>

#include "data/loader.h"
#include "graph/executor.h"
#include "train/loaded_model.h"

namespace sft {

// The program size for a micro-batch of `tokens` tokens: at most an eighth larger, so that ragged
// batches need few programs and waste little.
int64_t ladder_size(int64_t tokens);

struct BatchRunnerOptions {
  LossType loss = LossType::nll;
  Recompute recompute = Recompute::none;
  bool training = true;  // false: forward only
};

class BatchRunner {
 public:
  // `gradients` is a flat buffer in the model's layout, or null when not training. Keeps
  // references.
  BatchRunner(Device& device, Arena& arena, const LoadedModel& model, float* gradients,
              const BatchRunnerOptions& options);

  // The micro-batch's sums; when training, its gradients times `loss_scale` replace (`first`) or
  // add to what stands in `gradients`. M036 for a token id beyond the vocabulary.
  LossStats run(const MicroBatch& batch, float loss_scale, bool first);

  // What the arena takes for a micro-batch of that many tokens, in bytes.
  int64_t arena_bytes(int64_t tokens) { return sized(ladder_size(tokens)).executor.plan().bytes; }

 private:
  struct Sized {
    Executor executor;
    Value stats;
  };
  Sized& sized(int64_t tokens);

  Device& device_;
  Arena& arena_;
  const LoadedModel& model_;
  BatchRunnerOptions options_;
  Bindings bindings_;
  std::map<int64_t, Sized> programs_;
};

}  // namespace sft
