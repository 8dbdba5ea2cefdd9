// Which rows make which batch: the order of each epoch, cut into batches and dealt to the ranks as
// transformers' Trainer and accelerate do. Used by the loader.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "data/example.h"

namespace sft {

// How an epoch's order is made: `random` is torch.randperm seeded with seed + epoch (accelerate's
// SeedableRandomSampler); `group_by_length` sorts within random groups of 50 global batches, so
// that a batch's rows are of similar length.
enum class Sampling { random, sequential, group_by_length };

// TRL's names; D061 for another.
Sampling parse_sampling(std::string_view name);

// The row order of one epoch. `batch` (rows of one step on all ranks) matters to group_by_length
// only.
std::vector<int64_t> epoch_order(Sampling sampling, const PreparedDataset& data, uint64_t seed,
                                 int64_t epoch, int64_t batch);

// accelerate's BatchSamplerShard with even_batches: batch b of rank r is global batch b * world +
// r. With more than one rank the last round is filled up by wrapping to the start of the order, so
// that all ranks have as many full batches; with one rank the last batch is short.
struct BatchPlan {
  int64_t rows = 0;
  int64_t per_device = 1;
  int world = 1;
  bool drop_last = false;

  int64_t batches() const;  // of each rank in an epoch
  // Positions in the epoch's order; those at or above `rows` have been wrapped.
  std::vector<int64_t> batch(int64_t index, int rank) const;
};

}  // namespace sft
