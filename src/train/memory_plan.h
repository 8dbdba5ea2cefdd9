// Whether a run fits, decided before the first step from the longest batch that its data can make.
#pragma once

#include <string>

#include "core/log.h"
#include "train/batch_runner.h"

namespace sft {

// The most tokens that `rows` rows of the data have together.
int64_t longest_batch(const PreparedDataset& data, int64_t rows);

// What a run takes on this device, in bytes.
struct MemoryPlan {
  double weights = 0, gradients = 0, moments = 0, activations = 0;
  double free = 0;  // now, with the weights still to come where `weights_loaded` is false
  bool weights_loaded = false;
  int64_t batch_tokens = 0;
  Recompute recompute = Recompute::none;

  double needed() const {
    return gradients + moments + activations + (weights_loaded ? 0 : weights);
  }
  bool fits() const { return needed() <= free; }
  std::string line() const;
};
// `wanted`: "none", "block", or "auto", which takes the cheapest recompute that fits.
MemoryPlan estimate_memory(const std::string& wanted, const Model& model, const Device& device,
                           DType compute, int64_t batch_tokens, LossType loss, bool weights_loaded);

// "auto" takes the cheapest recompute that fits; "none" and "block" are checked. Says the plan in
// one line. G010 when it does not fit, with what would make it fit.
Recompute plan_run(const std::string& wanted, const LoadedModel& model, const Device& device,
                   int64_t batch_tokens, LossType loss, const Logger& logger);

// M037 when a row has more positions than the model.
void check_lengths(const PreparedDataset& data, const ModelConfig& config);

}  // namespace sft
