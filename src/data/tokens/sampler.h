// Which rows make which batch: the order of each epoch, cut into batches and dealt to the ranks as
// transformers' Trainer and accelerate do. Used by the loader.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/torch_random.h"
#include "data/rows/example.h"

namespace sft {

// How an epoch's order is made.
enum class Sampling {
  random,      // torch.randperm seeded with seed + epoch: accelerate's SeedableRandomSampler
  sequential,  // as the rows come
  // Random groups of 50 batches, each sorted by length, so that a batch's rows are of similar
  // length: transformers' LengthGroupedSampler.
  group_by_length,
  // Batches of similar cost instead of as many rows: transformers' BatchRebalanceSampler.
  batch_rebalance,
  // torch.randperm seeded by the run's own generator: accelerate without its seedable sampler.
  unseeded,
};

// TRL's names; D061 for another.
Sampling parse_sampling(std::string_view name);

// Whether the order depends on what the run's generator has drawn before.
bool is_drawn(Sampling sampling);

// The row order of one epoch, for those that are not drawn; batch_rebalance has its own,
// data/tokens/batch_rebalance.h.
std::vector<int64_t> epoch_order(Sampling sampling, const PreparedDataset& data, uint64_t seed,
                                 int64_t epoch);
// For those that are. `batch`: the rows of a step, which group_by_length looks at.
std::vector<int64_t> drawn_order(Sampling sampling, const PreparedDataset& data, int64_t batch,
                                 TorchGenerator& generator);

// accelerate's BatchSamplerShard with even_batches: batch b of rank r is global batch b * world +
// r. With more than one rank the last round is filled up by wrapping to the start of the order, so
// that all ranks have as many full batches; with one rank the last batch is short.
struct BatchPlan {
  int64_t rows = 0;
  int64_t per_device = 1;
  int world = 1;
  bool drop_last = false;
  // Of batch_rebalance: whole steps of so many batches are made of as many rows; 0: of no matter.
  int64_t rebalanced = 0;

  int64_t batches() const;  // of each rank in an epoch
  // Positions in the epoch's order; those at or above `rows` have been wrapped.
  std::vector<int64_t> batch(int64_t index, int rank) const;
};

}  // namespace sft
