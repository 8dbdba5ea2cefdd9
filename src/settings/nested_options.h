// Options that hold settings of their own: dataset_kwargs, model_init_kwargs, accelerator_config.
// Used by `validate`, and by those who ask what such a setting says.
#pragma once

#include "core/json_fwd.h"
#include "data/tokens/sampler.h"
#include "model/options.h"

namespace sft {

struct TrainOptions;

// Checks all of them, and writes what they say into the options they stand for. C075: an unknown
// key, C076: a value of the wrong kind, C077: what is not built.
void resolve_nested(TrainOptions& options);

// model_init_kwargs, less what has a flag and what has no meaning here: keys of config.json.
Json config_overrides(const ModelOptions& options);
// train_sampling_strategy, with what accelerator_config says of a random order.
Sampling sampling_of(const TrainOptions& options);

}  // namespace sft
