// A model of some shape with random weights, where numbers do not matter. Used by `sft bench` and
// tests, through run/open_run.h.
#pragma once

#include "state/loaded_model.h"

namespace sft {

LoadedModel random_model(const Model& shape, Device& device, DType compute, const Holding& holding);

}  // namespace sft
