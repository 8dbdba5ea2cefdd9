// A model with its weights in memory, read from a source. Used by training, generation and tests.
#pragma once

#include <memory>

#include "device/device.h"
#include "graph/executor.h"
#include "io/model_source.h"
#include "model/model.h"

namespace sft {

struct LoadedModel {
  Model model;
  Buffer weights;  // float32 on the device, in model.layout: the masters
  Target target;   // what programs of this model compute in
  Buffer copy;     // the weights in target.compute; empty when that is float32

  // Views for a program's bindings, by parameter index: of the copy where there is one, but norms
  // are read in float32.
  std::vector<Tensor> parameters() const;
  // Makes the copy anew from the masters.
  void refresh_copy(Device& device) const;
  // The same views into another buffer of this layout (gradients, moments).
  std::vector<Tensor> views(float* base) const;
  // The published tensors, as views under their Hugging Face names.
  std::vector<NamedTensor> published(float* base) const {
    return named_tensors(model.specs, model.layout, base);
  }
};

// Reads every tensor that the family describes. M244/M245 for one that is missing or of another
// shape. A tied head that the file stores all the same is not read.
LoadedModel load_model(const ModelSource& source, Device& device, DType compute = DType::f32);

}  // namespace sft
