// A whole training run of one process, from options to the saved folder. cli/train.cpp calls it.
#pragma once

#include "run/surroundings.h"
#include "settings/train_options.h"
#include "train/trainer.h"

namespace sft {

// Trains and saves. Throws Error for whatever keeps it from doing so; what was saved stays whole.
TrainOutcome run_training(const TrainOptions& options, const RunSurroundings& surroundings);

}  // namespace sft
