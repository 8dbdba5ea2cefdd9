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
  Buffer weights;  // float32, in model.layout

  // Views for a program's bindings, by parameter index.
  std::vector<Tensor> parameters() const;
  // The same views into another buffer of this layout (gradients, moments).
  std::vector<Tensor> views(float* base) const;
  // The published tensors, as views under their Hugging Face names.
  std::vector<NamedTensor> published(float* base) const {
    return named_tensors(model.specs, model.layout, base);
  }
};

// Reads every tensor that the family describes. M244/M245 for one that is missing or of another
// shape. A tied head that the file stores all the same is not read.
LoadedModel load_model(const ModelSource& source, Device& device);

}  // namespace sft
