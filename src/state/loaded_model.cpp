#include "state/loaded_model.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "formats/convert.h"
#include "model/adapters.h"
#include "state/config_sizes.h"

namespace sft {

namespace {

size_t bytes_of(int64_t elements, DType type) {
  return static_cast<size_t>(elements) * size_of(type);
}

}  // namespace

int64_t count_norms(const std::vector<ParamSpec>& specs) {
  int64_t count = 0;
  for (const ParamSpec& spec : specs) {
    count += in_float32(spec.kind) ? spec.shape.elements() : 0;
  }
  return count;
}

void LoadedModel::allocate(Device& device, const Holding& holding) {
  const ShardPlace place = holding.place;
  shards = ShardLayout(model.layout, place);
  if (holding.offload_optimizer && device.kind() != DeviceKind::cpu) {
    host = Device::cpu(device.threads().size());
  }
  const auto held = [&](bool whole) {
    return whole ? shards.whole_elements() : shards.slice_elements();
  };
  weights = optimizer_device(device).allocate(bytes_of(held(whole_weights()), weight_type));
  if (target.compute != weight_type || host) {
    const size_t bytes = bytes_of(held(whole_copy()), target.compute);
    copy_on_host = holding.offload_param && host;
    copy = copy_on_host ? device.allocate_host(bytes) : device.allocate(bytes);
  }
  if (target.compute != DType::f32 &&
      !(weight_type == DType::f32 && whole_weights() && host == nullptr)) {
    norms = device.allocate(bytes_of(count_norms(model.trained), DType::f32));
  }
  if (place.stage == 3) {
    slots = BlockSlots(shards);
    gathered = device.allocate(bytes_of(slots.elements(), target.compute));
  }
  Holding of_frozen = holding;
  of_frozen.offload_param = holding.offload_param && host != nullptr;
  frozen = FrozenWeights(model, target.compute, place, of_frozen.frozen_on_host(), device);
}

std::byte* LoadedModel::weights_at(const ShardRange& s) const {
  return weights.data() + bytes_of(whole_weights() ? s.whole_at : s.slice_at, weight_type);
}

std::byte* LoadedModel::copy_at(const ShardRange& s) const {
  return copy.size() == 0
             ? nullptr
             : copy.data() + bytes_of(whole_copy() ? s.whole_at : s.slice_at, target.compute);
}

std::vector<HeldPart> LoadedModel::held_parts() const {
  std::vector<HeldPart> out;
  for (const ShardRange& s : held()) {
    for (const StatePart& p : weight_parts(model.trained, model.layout, s.range, weight_type)) {
      out.push_back({p.name, p.shape, p.begin, p.end, p.dtype, weights_at(s) + p.at});
    }
  }
  return out;
}

std::vector<Tensor> LoadedModel::views(float* base) const {
  std::vector<Tensor> out;
  for (size_t i = 0; i < model.trained.size(); ++i) {
    const ParamSpec& spec = model.trained[i];
    out.push_back(
        {base + shards.whole_at(spec.block, model.layout.offsets[i]), spec.shape, DType::f32});
  }
  out.resize(model.parameter_count());
  return out;
}

std::vector<Tensor> LoadedModel::parameters() const {
  std::vector<Tensor> out;
  float* norm = norms.f32();
  for (size_t i = 0; i < model.trained.size(); ++i) {
    const ParamSpec& spec = model.trained[i];
    const bool is_norm = in_float32(spec.kind);
    if (is_norm && norms.size() > 0) {
      out.push_back({norm, spec.shape, DType::f32});
      norm += spec.shape.elements();
      continue;
    }
    const int64_t offset = model.layout.offsets[i];
    if (shards.place().stage == 3) {
      const int64_t at = slots.at(spec.block) + offset - shards.block(spec.block).begin;
      out.push_back({gathered.data() + bytes_of(at, target.compute), spec.shape, target.compute});
      continue;
    }
    const bool copied = copy.size() > 0 && (!is_norm || target.compute == DType::f32);
    const DType type = copied ? target.compute : weight_type;
    out.push_back(
        {(copied ? copy : weights).data() + bytes_of(shards.whole_at(spec.block, offset), type),
         spec.shape, type});
  }
  std::ranges::copy(frozen.tensors(), std::back_inserter(out));
  return out;
}

void LoadedModel::refresh_copy(Device& device) const {
  for (const ShardRange& s : held()) {
    const Shape all{s.range.size()};
    std::byte* const to = copy_at(s);
    if (to == nullptr || s.range.size() == 0) {
      continue;
    }
    if (host) {
      send_converted(device, weights_at(s), s.range.size(), to);
    } else if (device.kind() == DeviceKind::cpu) {
      convert_to_f32(weight_type, weights_at(s), s.range.size(), reinterpret_cast<float*>(to),
                     &device.threads());
    } else {
      Tensor narrow{to, all, target.compute};
      device.add({weights_at(s), all, weight_type}, narrow, false);
    }
  }
  refresh_norms(device);
}

// From the host's memory, in the type that programs compute in.
void LoadedModel::send_converted(Device& device, const std::byte* from, int64_t n,
                                 std::byte* to) const {
  Device& home = copy_on_host ? *host : device;
  if (weight_type == target.compute) {
    home.upload(to, from, bytes_of(n, weight_type));
    return;
  }
  constexpr int64_t kPiece = int64_t{4} << 20;
  std::vector<float> wide(static_cast<size_t>(std::min(n, kPiece)));
  std::vector<std::byte> narrow(bytes_of(std::min(n, kPiece), target.compute));
  for (int64_t at = 0; at < n; at += kPiece) {
    const int64_t m = std::min(kPiece, n - at);
    convert_to_f32(weight_type, from + bytes_of(at, weight_type), m, wide.data(),
                   &device.threads());
    convert_from_f32(target.compute, wide.data(), m, narrow.data(), &device.threads());
    home.upload(to + bytes_of(at, target.compute), narrow.data(), bytes_of(m, target.compute));
  }
}

void LoadedModel::refresh_norms(Device& device) const {
  if (norms.size() == 0) {
    return;
  }
  const bool all = shards.place().stage == 0;
  if (!all) {
    device.zero(norms.data(), norms.size());
  }
  float* norm = norms.f32();
  for (size_t i = 0; i < model.trained.size(); ++i) {
    const ParamSpec& spec = model.trained[i];
    if (!in_float32(spec.kind)) {
      continue;
    }
    const int64_t offset = model.layout.offsets[i];
    const ShardRange block = {shards.block(spec.block), shards.whole_at(spec.block), 0, spec.block};
    const ShardRange here = all ? block : shards.own(spec.block);
    const int64_t begin = std::max(offset, here.range.begin);
    const int64_t end = std::min(offset + spec.shape.elements(), here.range.end);
    if (begin < end) {
      const Shape part{end - begin};
      std::byte* const from = weights_at(here) + bytes_of(begin - here.range.begin, weight_type);
      float* const to = norm + (begin - offset);
      if (host) {
        std::vector<float> values(static_cast<size_t>(part.elements()));
        convert_to_f32(weight_type, from, part.elements(), values.data());
        device.upload(to, values.data(), values.size() * sizeof(float));
      } else {
        Tensor wide{to, part, DType::f32};
        device.add({from, part, weight_type}, wide, false);
      }
    }
    norm += spec.shape.elements();
  }
}

void LoadedModel::read_weights(Device& device, const ReadTensor& read) {
  constexpr int64_t kPiece = int64_t{16} << 20;
  Device& home = optimizer_device(device);
  std::vector<float> staging;
  std::vector<std::byte> narrow;
  for (const HeldPart& part : held_parts()) {
    if (home.kind() == DeviceKind::cpu && part.dtype == DType::f32) {
      read(part.name, part.shape, {part.begin, part.end}, reinterpret_cast<float*>(part.data));
      continue;
    }
    for (int64_t at = part.begin; at < part.end; at += kPiece) {
      const int64_t n = std::min(kPiece, part.end - at);
      std::byte* const to = part.data + bytes_of(at - part.begin, part.dtype);
      staging.resize(static_cast<size_t>(n));
      read(part.name, part.shape, {at, at + n}, staging.data());
      if (part.dtype == DType::f32) {
        home.upload(to, staging.data(), bytes_of(n, part.dtype));
        continue;
      }
      narrow.resize(bytes_of(n, part.dtype));
      convert_from_f32(part.dtype, staging.data(), n, narrow.data(), &device.threads());
      home.upload(to, narrow.data(), narrow.size());
    }
  }
}

void check_weights(const ModelSource& source, const Model& model) {
  for (const ParamSpec* const spec : model.parameters()) {
    for (const ParamPiece& piece : spec->pieces) {
      if (!piece.name.starts_with(kAdapterPrefix)) {
        source.require(piece.name, spec->shape_of(piece));
      }
    }
  }
}

LoadedModel load_model(const ModelSource& source, Device& device, DType compute, DType weight_type,
                       const Holding& holding) {
  return load_model(source, Model::from_config(source.config()), device, compute, weight_type,
                    holding);
}

LoadedModel load_model(const ModelSource& source, Model model, Device& device, DType compute,
                       DType weight_type, const Holding& holding, AdapterStart* start) {
  LoadedModel loaded;
  check_sizes(source, model.config);
  loaded.model = std::move(model);
  loaded.target = device.target(compute);
  loaded.weight_type = weight_type;
  check_weights(source, loaded.model);
  loaded.allocate(device, holding);
  const LoadedModel::ReadTensor read = [&](const std::string& name, const Shape&, ElementRange part,
                                           float* to) {
    if (start != nullptr) {
      start->read(source, name, part, to, device.threads());
      return;
    }
    source.read_f32(name, part, to, &device.threads());
  };
  loaded.read_weights(device, read);
  loaded.frozen.read(device, read, [&](const std::string& name, Tensor& packed) {
    return (start == nullptr || !start->changes(name)) && source.read_packed(name, packed);
  });
  loaded.refresh_copy(device);
  return loaded;
}

}  // namespace sft
