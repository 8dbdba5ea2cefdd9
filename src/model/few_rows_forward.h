// The decoder's forward pass for a few rows, with norms, activations and residuals joined to the
// products (ops/few_rows.h): a step of generation is then five kernels a layer.
#pragma once

#include "model/model.h"

namespace sft {

// Whether all layers are of the form that is joined: root-mean-square norms before attention and
// before a gated MLP, none behind, no adapters, and products that take few rows.
bool joins_few_rows(const Program& p, const ModelConfig& config, const Weights& w,
                    const ModelInputs& inputs);

// As decoder_forward.
Value few_rows_forward(Program& p, const ModelConfig& config, const Weights& w,
                       const ModelInputs& inputs);

}  // namespace sft
