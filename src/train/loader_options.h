// How a run's options cut its rows into batches. Used by the trainer and by what counts its steps
// before it is there.
#pragma once

#include "data/tokens/loader.h"
#include "settings/train_options.h"

namespace sft {

// Of rank `rank` of `world`.
LoaderOptions train_loader_options(const TrainOptions& options, int rank, int world);
LoaderOptions eval_loader_options(const TrainOptions& options, int rank, int world);
// Whether torch's DataLoader keeps its workers, and with them their seeds, from epoch to epoch.
bool seeds_once(const TrainOptions& options);

}  // namespace sft
