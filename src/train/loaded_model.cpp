#include "train/loaded_model.h"

#include "io/convert.h"

namespace sft {

std::vector<Tensor> LoadedModel::views(float* base) const {
  std::vector<Tensor> out;
  for (size_t i = 0; i < model.specs.size(); ++i) {
    out.push_back({base + model.layout.offsets[i], model.specs[i].shape, DType::f32});
  }
  return out;
}

std::vector<Tensor> LoadedModel::parameters() const {
  std::vector<Tensor> out;
  float* norm = norms.f32();
  for (size_t i = 0; i < model.specs.size(); ++i) {
    const ParamSpec& spec = model.specs[i];
    const bool is_norm = spec.kind == ParamKind::norm;
    if (is_norm && norms.size() > 0) {
      out.push_back({norm, spec.shape, DType::f32});
      norm += spec.shape.elements();
      continue;
    }
    const bool copied = copy.size() > 0 && (!is_norm || target.compute == DType::f32);
    const DType type = copied ? target.compute : weight_type;
    const auto at = static_cast<size_t>(model.layout.offsets[i]) * size_of(type);
    out.push_back({(copied ? copy : weights).data() + at, spec.shape, type});
  }
  return out;
}

void LoadedModel::refresh_copy(Device& device) const {
  const Shape all{elements()};
  if (copy.size() > 0 && device.kind() == DeviceKind::cpu) {
    convert_to_f32(weight_type, weights.data(), elements(), copy.f32(), &device.threads());
  } else if (copy.size() > 0) {
    device.add({weights.data(), all, weight_type}, {copy.data(), all, target.compute}, false);
  }
  refresh_norms(device);
}

void LoadedModel::refresh_norms(Device& device) const {
  float* norm = norms.f32();
  for (size_t i = 0; norm != nullptr && i < model.specs.size(); ++i) {
    const ParamSpec& spec = model.specs[i];
    if (spec.kind == ParamKind::norm) {
      const auto at = static_cast<size_t>(model.layout.offsets[i]) * size_of(weight_type);
      device.add({weights.data() + at, spec.shape, weight_type}, {norm, spec.shape, DType::f32},
                 false);
      norm += spec.shape.elements();
    }
  }
}

void LoadedModel::make_copies(Device& device) {
  if (target.compute != weight_type) {
    copy = device.allocate(static_cast<size_t>(elements()) * size_of(target.compute));
  } else if (weight_type != DType::f32) {
    int64_t count = 0;
    for (const ParamSpec& spec : model.specs) {
      count += spec.kind == ParamKind::norm ? spec.shape.elements() : 0;
    }
    norms = device.allocate(static_cast<size_t>(count) * sizeof(float));
  }
  refresh_copy(device);
}

LoadedModel load_model(const ModelSource& source, Device& device, DType compute,
                       DType weight_type) {
  LoadedModel loaded;
  loaded.model = Model::from_config(source.config());
  loaded.target = {device.kind(), compute};
  loaded.weight_type = weight_type;
  loaded.weights = device.allocate(static_cast<size_t>(loaded.elements()) * size_of(weight_type));
  const bool here = device.kind() == DeviceKind::cpu && weight_type == DType::f32;
  std::vector<float> staging;
  std::vector<std::byte> narrow;
  for (const NamedTensor& t : loaded.published(loaded.weights.data(), weight_type)) {
    source.require(t.name, t.tensor.shape);
    const int64_t n = t.tensor.shape.elements();
    staging.resize(here ? 0 : static_cast<size_t>(n));
    source.read_f32(t.name, here ? t.tensor.f32() : staging.data(), &device.threads());
    if (weight_type != DType::f32) {
      narrow.resize(t.tensor.bytes());
      convert_from_f32(weight_type, staging.data(), n, narrow.data(), &device.threads());
      device.upload(t.tensor.data, narrow.data(), narrow.size());
    } else if (!here) {
      device.upload(t.tensor.data, staging.data(), t.tensor.bytes());
    }
  }
  loaded.make_copies(device);
  return loaded;
}

}  // namespace sft
