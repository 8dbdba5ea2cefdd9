// Runs micro-batches through the model's programs: one program for each size of a short ladder, all
// in one arena.
#pragma once

#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "data/tokens/loader.h"
#include "graph/executor.h"
#include "ops/linear_cross_entropy.h"
#include "state/loaded_model.h"

namespace sft {

// The program size for a micro-batch of `tokens` tokens: at most an eighth larger, so that ragged
// batches need few programs and waste little.
int64_t ladder_size(int64_t tokens);
// How many rows the last block goes on with when `trained` of `tokens` (of ladder_size) have a
// label: a quarter, a half or three of them, so that ragged batches need few programs. Where all
// batches are `alike`, packed rows, the share varies little, and finer steps waste less. 0: all of
// them, where nearly all are trained.
int64_t kept_bound(DeviceKind device, int64_t tokens, int64_t trained, bool alike);
// The bytes of a program's inputs, end to end, but for noise.
int64_t input_bytes(const BatchSize& size);
// The program for micro-batches of at most that size. On a GPU the number of documents and the
// longest one decide how attention's work is laid out; the CPU takes them as they come.
BatchSize program_size(DeviceKind device, int64_t tokens, int64_t documents, int64_t longest);

// What the libraries behind the ops get to work in (Device::reserve_workspace), in bytes.
int64_t workspace_bytes(Device& device, const ModelConfig& config, DType compute, int64_t tokens);

// The random numbers of one micro-batch.
struct Draws {
  std::span<const float> noise{};  // a row of `hidden` values for each token, where options say so
  uint64_t dropout_seed = 0;       // the step's
};

struct BatchRunnerOptions {
  TokenLoss loss{};
  MemoryPolicy memory{};
  int64_t most_tokens = 0;  // of a micro-batch: what memory is taken for
  bool training = true;     // false: forward only
  bool drop_rows = true;    // false: the last block computes rows without a label too (for tests)
  bool noise = false;       // embeddings get noise
};

// What a micro-batch's tokens add up to, and the auxiliary loss of its routers (ops/router.h).
struct BatchStats : LossStats {
  float balance = 0;
};

class BatchRunner {
 public:
  // `gradients` by parameter index, empty when not training. Keeps references.
  BatchRunner(Device& device, Arena& arena, const LoadedModel& model, std::vector<Tensor> gradients,
              const BatchRunnerOptions& options);

  // Starts a micro-batch; when training, its gradients times `loss_scale` replace (`first`) or add
  // to what stands in `gradients`. `watcher`: see Bindings. M036 for a token id beyond the
  // vocabulary.
  // `balance_scale`: the same for the routers' auxiliary loss, where the model has one.
  void run(const MicroBatch& batch, float loss_scale, bool first, BlockWatcher* watcher = nullptr,
           const Draws& draws = {}, float balance_scale = 0.0F);
  // Waits for the micro-batches since the last call and gives the sums of each.
  std::vector<BatchStats> collect();
  // Runs a micro-batch again, slowly, and says which instruction first wrote a number that is not
  // finite: "attention in block 3 wrote nan at 17 of (128, 64)". "" when none did. Gradients are
  // overwritten.
  std::string first_not_finite(const MicroBatch& batch, float loss_scale,
                               BlockWatcher* watcher = nullptr);
  // Seconds that copies of micro-batches to the device took the host since the last call.
  double take_upload_seconds() { return std::exchange(upload_seconds_, 0.0); }
  // See Executor::trace.
  void trace(Trace* trace) { trace_ = trace; }

 private:
  struct Sized {
    Executor executor;
    Value stats, balance_loss;
  };
  Sized& sized(const BatchSize& size);
  BatchSize size_for(const MicroBatch& batch);
  Sized& prepared(const MicroBatch& batch, float loss_scale, bool first, const Draws& draws = {},
                  float balance_scale = 0.0F);
  void bind(const MicroBatch& batch, const BatchSize& size, float loss_scale, uint64_t dropout_seed,
            float balance_scale);
  void bind_noise(const BatchSize& size, std::span<const float> noise);

  Device& device_;
  Arena& arena_;
  const LoadedModel& model_;
  BatchRunnerOptions options_;
  bool dropout_;  // adapters drop some of what they read
  Bindings bindings_;
  std::map<BatchSize, Sized> programs_;
  Buffer inputs_;  // of the program at work, end to end
  Buffer noise_;   // (tokens, hidden) f32
  std::vector<int32_t> staged_;
  std::vector<int32_t> rows_;  // of the micro-batch at work, that are trained
  // What the largest micro-batch needs, all of it trained.
  int64_t most_bytes_ = std::numeric_limits<int64_t>::max();
  int64_t most_host_bytes_ = std::numeric_limits<int64_t>::max();
  Buffer results_;  // BatchStats of the micro-batches not collected yet
  size_t pending_ = 0;
  double upload_seconds_ = 0;
  Trace* trace_ = nullptr;
};

}  // namespace sft
