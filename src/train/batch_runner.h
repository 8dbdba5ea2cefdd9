// Runs micro-batches through the model's programs: one program for each size of a short ladder, all
// in one arena.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "data/loader.h"
#include "graph/executor.h"
#include "train/loaded_model.h"

namespace sft {

// The program size for a micro-batch of `tokens` tokens: at most an eighth larger, so that ragged
// batches need few programs and waste little.
int64_t ladder_size(int64_t tokens);
// The program for micro-batches of at most that size. On a GPU the number of documents and the
// longest one decide how attention's work is laid out; the CPU takes them as they come.
BatchSize program_size(DeviceKind device, int64_t tokens, int64_t documents, int64_t longest);

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

  // Starts a micro-batch; when training, its gradients times `loss_scale` replace (`first`) or add
  // to what stands in `gradients`. M036 for a token id beyond the vocabulary.
  void run(const MicroBatch& batch, float loss_scale, bool first);
  // Waits for the micro-batches since the last call and gives the sums of each.
  std::vector<LossStats> collect();
  // See Executor::trace.
  void trace(Trace* trace) { trace_ = trace; }

 private:
  struct Sized {
    Executor executor;
    Value stats;
    Buffer inputs;  // all of the program's inputs, end to end
  };
  Sized& sized(const BatchSize& size);
  void bind(const MicroBatch& batch, const BatchSize& size, Sized& program, float loss_scale);

  Device& device_;
  Arena& arena_;
  const LoadedModel& model_;
  BatchRunnerOptions options_;
  Bindings bindings_;
  std::map<BatchSize, Sized> programs_;
  Buffer results_;  // LossStats of the micro-batches not collected yet
  size_t pending_ = 0;
  Trace* trace_ = nullptr;
};

}  // namespace sft
