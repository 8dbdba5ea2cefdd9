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

// Where rows stand, by their numbers in the data set: "train.jsonl:12, train.jsonl:4 and 3 more".
// `count`: how many there are, of which the first few are enough.
inline constexpr size_t kNamedRows = 8;
std::string name_rows(std::span<const int64_t> rows, int64_t count, const PreparedDataset& data);
std::string name_rows(const MicroBatch& batch, const PreparedDataset& data);

// One sentence: the first weight that is not finite already, else the micro-batch of this rank, its
// rows and the instruction that first wrote such a number. Runs the micro-batches again: with a
// watcher, behind which other ranks wait, all of them.
std::string diagnose_step(BatchRunner& runner, const LoadedModel& model, Device& device,
                          std::span<const MicroBatch> batches, float loss_scale,
                          const PreparedDataset& data, BlockWatcher* watcher);

}  // namespace sft
