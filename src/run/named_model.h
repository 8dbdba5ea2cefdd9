// The model of a run, with what --model_init_kwargs changes. Used by training, its plan and `sft
// inspect`.
#pragma once

#include <memory>

#include "io/model_source.h"
#include "model/options.h"

namespace sft {

// The errors of ModelSource::open; C075 for a key that config.json has not, C079 for a
// --router_aux_loss_coef where there are no experts.
std::unique_ptr<ModelSource> named_model(const ModelOptions& options, const HubEnvironment& hub);

}  // namespace sft
