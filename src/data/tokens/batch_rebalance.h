// Batches of similar cost rather than of as many rows, as transformers' BatchRebalanceSampler makes
// them. Used by the loader and by the plan of a run's memory.
#pragma once

#include <cstdint>
#include <vector>

namespace sft {

struct Rebalance {
  int64_t step_rows = 1;  // of all ranks and micro-batches of a step
  int world = 1;
  int64_t accumulation = 1;
  bool drop_last = false;
  int64_t first_row = 0;  // of the epoch's order: those before it were trained in other batches
};

// The rows of each micro-batch of `rank` in an epoch: the rows of a step, sorted by length, are cut
// into world * accumulation groups whose costs (padded tokens, and attention's square) are alike;
// the costliest go to the step's first micro-batches. An incomplete last step is repeated into only
// as far as every group needs a row.
std::vector<std::vector<int64_t>> rebalanced_batches(const std::vector<int64_t>& lengths,
                                                     const Rebalance& options, int64_t epoch,
                                                     int rank);

}  // namespace sft
