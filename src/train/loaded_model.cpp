#include "train/loaded_model.h"

namespace sft {

std::vector<Tensor> LoadedModel::views(float* base) const {
  std::vector<Tensor> out;
  for (size_t i = 0; i < model.specs.size(); ++i) {
    out.push_back({base + model.layout.offsets[i], model.specs[i].shape, DType::f32});
  }
  return out;
}

std::vector<Tensor> LoadedModel::parameters() const {
  std::vector<Tensor> out = views(weights.f32());
  for (size_t i = 0; i < out.size(); ++i) {
    if (copy.size() > 0 && model.specs[i].kind != ParamKind::norm) {
      const auto at = static_cast<size_t>(model.layout.offsets[i]) * size_of(target.compute);
      out[i] = {copy.data() + at, model.specs[i].shape, target.compute};
    }
  }
  return out;
}

void LoadedModel::refresh_copy(Device& device) const {
  if (copy.size() > 0) {
    const Shape all{model.layout.elements};
    device.add({weights.data(), all, DType::f32}, {copy.data(), all, target.compute}, false);
  }
}

LoadedModel load_model(const ModelSource& source, Device& device, DType compute) {
  LoadedModel loaded;
  loaded.model = Model::from_config(source.config());
  loaded.target = {device.kind(), compute};
  const auto elements = static_cast<size_t>(loaded.model.layout.elements);
  loaded.weights = device.allocate(elements * sizeof(float));
  const bool here = device.kind() == DeviceKind::cpu;
  std::vector<float> staging;
  for (const NamedTensor& t : loaded.published(loaded.weights.f32())) {
    source.require(t.name, t.tensor.shape);
    staging.resize(here ? 0 : static_cast<size_t>(t.tensor.shape.elements()));
    source.read_f32(t.name, here ? t.tensor.f32() : staging.data(), &device.threads());
    if (!here) {
      device.upload(t.tensor.data, staging.data(), t.tensor.bytes());
    }
  }
  if (compute != DType::f32) {
    loaded.copy = device.allocate(elements * size_of(compute));
    loaded.refresh_copy(device);
  }
  return loaded;
}

}  // namespace sft
