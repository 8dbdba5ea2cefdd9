// The weights of a model that is only used. Used by `sft generate` and `sft chat`, through
// run/open_run.h.
#pragma once

#include "device/device.h"
#include "io/model_source.h"
#include "model/model.h"

namespace sft {

// None of `shape` is trained, and matrices are kept as the source has them where programs can read
// them so: packed ones, and on a CPU those of 16 bits, of which each token then reads half as much.
// `source`: null for a model that is no more than a config.json.
void keep_as_stored(Model& shape, const ModelSource* source, DeviceKind device);

}  // namespace sft
