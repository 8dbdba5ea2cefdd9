// Whether a run fits, decided before anything of it is allocated, from the longest batch that its
// data can make.
#pragma once

#include <functional>
#include <string>

#include "core/log.h"
#include "optim/state_layout.h"
#include "settings/train_options.h"
#include "state/sharder.h"
#include "train/batch_runner.h"

namespace sft {

// The most tokens that `rows` rows of the data have together.
int64_t longest_batch(const PreparedDataset& data, int64_t rows);

TokenLoss token_loss(const TrainOptions& options);

// What decides about a run's memory, beside its model.
struct MemoryWish {
  std::string recompute = "auto";  // or a policy's name
  // With "auto": only where nothing cheaper fits.
  bool offload_activations = false;
  int64_t mlp_tile = 0;  // see MemoryPolicy
  OptimizerSettings optimizer;
  TokenLoss loss;
  bool noise = false;                            // embeddings get noise
  int64_t rows = 1;                              // of a batch
  std::function<int64_t(int64_t rows)> longest;  // tokens of the longest batch of so many
  int64_t eval_tokens = 0;                       // of the longest evaluation batch; 0: none
  // Where the model writes answers: tokens that its caches hold together, and those that it reads
  // at once at most; 0: it writes none.
  int64_t cached_tokens = 0, read_tokens = 0;
  int64_t cached_texts = 1;  // of how many texts those are
  int64_t accumulation = 1;
  Holding holding;          // what this rank has of the model, and where
  bool sums_apart = false;  // see sums_gradients_apart
  bool saves = false;       // checkpoints, beside training
  int ranks_here = 1;       // of this machine: on CPUs they share its memory
};
MemoryWish memory_wish(const TrainOptions& options, const Holding& holding,
                       const PreparedDataset& train, const PreparedDataset* eval,
                       int ranks_here = 1);

// What a run takes of its device, in bytes. On a CPU the parts together are a bound on what the
// process ever holds (tests/train/peak_memory_test.cpp).
struct MemoryPlan {
  double weights = 0;  // as matmuls read them
  double masters = 0;  // what the optimizer changes, where it is not that
  double gradients = 0, moments = 0;
  double activations = 0;  // the arena, for training or evaluation, and the programs' inputs
  double workspace = 0;    // of the device's libraries, recorded work and, on a CPU, what is read
                           // ahead
  double caches = 0;       // keys and values of the answers that the model writes when evaluated
  double copy = 0;         // of what a checkpoint holds, while it is written: where there is room
  double gathered = 0;     // of all ranks, on the first, while what they share is saved
  double taken = 0;        // by this process already, on a CPU
  bool on_host = false;    // the device's memory is the host's
  double host = 0;         // in the host's memory: what is offloaded
  double free = 0;         // now, with the weights still to come unless `weights_loaded`
  double host_free = 0;
  bool weights_loaded = false;
  std::string device;
  int64_t batch_tokens = 0, eval_tokens = 0;
  MemoryPolicy policy;

  double total() const {
    return weights + masters + gradients + moments + activations + workspace + caches;
  }
  double needed() const { return total() - (weights_loaded ? weights + masters : 0.0); }
  bool fits() const {
    return needed() + (on_host ? gathered : 0) <= free &&
           host + (on_host ? 0 : gathered) <= host_free;
  }
  // What the process holds at most.
  double peak() const { return taken + needed() + copy + gathered; }
  // One line: every part, what it is for, and what is free.
  std::string line() const;
};

MemoryPlan estimate_memory(const MemoryWish& wish, const Model& model, const Device& device,
                           DType compute, bool weights_loaded = false);

// The settings that would make a run fit that does not, each with what it takes; "" when none does.
std::string fitting_settings(const MemoryWish& wish, const Model& model, const Device& device,
                             DType compute, bool weights_loaded = false);

// Whether the table of embeddings is frozen and nothing but its rows is read, so that it may wait
// in the host's memory (--offload_embeddings).
bool only_looks_up_embeddings(const Model& model);

// Where recomputation was asked for and less of it fits too, which is faster and gives the same
// bits: the flags and what they take; else "".
std::string cheaper_policy(const MemoryWish& wish, const MemoryPlan& plan, const Model& model,
                           const Device& device, DType compute, bool weights_loaded = false);

// Says the plan in one line. G010 when the run does not fit, with the settings that would make it
// fit.
MemoryPlan plan_run(const TrainOptions& options, const MemoryWish& wish, const Model& model,
                    const Device& device, DType compute, const Logger& logger);

// --auto_find_batch_size: the first of per_device_train_batch_size, nine tenths of it, nine tenths
// of that, … that fits, as accelerate tries them; what is asked for where none does. Said in a
// line.
int64_t fitting_batch_size(const TrainOptions& options, const Model& model, const Device& device,
                           DType compute, const Holding& holding, const PreparedDataset& train,
                           const PreparedDataset* eval, const Logger& logger, int ranks_here = 1);

// M037 when a row has more positions than the model.
void check_lengths(const PreparedDataset& data, const ModelConfig& config);

}  // namespace sft
