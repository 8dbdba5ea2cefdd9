#include "train/loaded_model.h"

namespace sft {

std::vector<Tensor> LoadedModel::views(float* base) const {
  std::vector<Tensor> out;
  for (size_t i = 0; i < model.specs.size(); ++i) {
    out.push_back({base + model.layout.offsets[i], model.specs[i].shape, DType::f32});
  }
  return out;
}

std::vector<Tensor> LoadedModel::parameters() const { return views(weights.f32()); }

LoadedModel load_model(const ModelSource& source, Device& device) {
  LoadedModel loaded;
  loaded.model = Model::from_config(source.config());
  loaded.weights =
      device.allocate(static_cast<size_t>(loaded.model.layout.elements) * sizeof(float));
  for (const NamedTensor& t : loaded.published(loaded.weights.f32())) {
    source.require(t.name, t.tensor.shape);
    source.read_f32(t.name, t.tensor.f32(), &device.threads());
  }
  return loaded;
}

}  // namespace sft
