// Whether a run fits, decided before the first step from the longest batch that its data can make.
#pragma once

#include "core/log.h"
#include "train/batch_runner.h"

namespace sft {

// The most tokens that `rows` rows of the data have together.
int64_t longest_batch(const PreparedDataset& data, int64_t rows);

// "auto" takes the cheapest recompute that fits; "none" and "block" are checked. Says the plan in
// one line. G010 when it does not fit, with what would make it fit.
Recompute plan_run(const std::string& wanted, const LoadedModel& model, const Device& device,
                   int64_t batch_tokens, LossType loss, const Logger& logger);

// M037 when a row has more positions than the model.
void check_lengths(const PreparedDataset& data, const ModelConfig& config);

}  // namespace sft
