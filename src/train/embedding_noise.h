// NEFTune's noise on the embeddings (Jain et al., 2023). Used by the trainer.
#pragma once

#include <vector>

#include "data/tokens/loader.h"

namespace sft {

// Uniform within alpha / sqrt(L * hidden), where L is the length that TRL lays the batch out with;
// a row of `hidden` values for each token. The generator draws as torch does for TRL's padded batch
// on a CPU, what falls on padding included.
std::vector<float> embedding_noise(const MicroBatch& batch, int64_t hidden, double alpha,
                                   TorchGenerator& generator);

}  // namespace sft
