// Where a loss or gradient that is not finite comes from. Used by the trainer when it skips a step.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "data/tokens/loader.h"
#include "state/loaded_model.h"

namespace sft {

class BatchRunner;
class BlockWatcher;

struct NotFinite {
  int64_t at = 0;  // among the tensor's elements
  double value = 0;
};
// The first element that is nan or +inf; -inf is what masked scores and empty sums are made of.
// Nothing for tensors of integers.
std::optional<NotFinite> find_not_finite(Device& device, const Tensor& tensor);

// One sentence: the first weight that is not finite already, else the micro-batch of this rank, its
// rows and the instruction that first wrote such a number. Runs the micro-batches again: with a
// watcher, behind which other ranks wait, all of them.
std::string diagnose_step(BatchRunner& runner, const LoadedModel& model, Device& device,
                          std::span<const MicroBatch> batches, float loss_scale,
                          const PreparedDataset& data, BlockWatcher* watcher);

}  // namespace sft
