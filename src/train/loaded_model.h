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
  Buffer weights;  // on the device, in model.layout: what the optimizer changes
  // float32: masters; bfloat16 (--dtype bfloat16): there are no others.
  DType weight_type = DType::f32;
  Target target;  // what programs of this model compute in
  Buffer copy;    // the weights in target.compute; empty when they are in that type themselves
  Buffer norms;   // norms in float32, end to end, when neither of the two has them so

  // Views for a program's bindings, by parameter index: of the copy where there is one, but norms
  // are read in float32.
  std::vector<Tensor> parameters() const;
  // Makes the copy anew from the weights, and the norms.
  void refresh_copy(Device& device) const;
  // Makes `norms` anew: after every change of the weights.
  void refresh_norms(Device& device) const;
  // Room for copy and norms, and what belongs in them.
  void make_copies(Device& device);
  int64_t elements() const { return model.layout.elements; }
  // The same views into another buffer of this layout (gradients, moments).
  std::vector<Tensor> views(float* base) const;
  // The published tensors, as views under their Hugging Face names.
  std::vector<NamedTensor> published(void* base, DType type = DType::f32) const {
    return named_tensors(model.specs, model.layout, base, type);
  }
};

// Reads every tensor that the family describes. M244/M245 for one that is missing or of another
// shape. A tied head that the file stores all the same is not read.
LoadedModel load_model(const ModelSource& source, Device& device, DType compute = DType::f32,
                       DType weight_type = DType::f32);

}  // namespace sft
