#include "run/random_model.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "core/rng.h"
#include "formats/convert.h"
#include "formats/format.h"
#include "state/trained_types.h"

namespace sft {

namespace {

// What published values are rounded to before they are packed.
std::vector<float> rounded_to(DType type, std::vector<float> values) {
  std::vector<std::byte> narrow(values.size() * size_of(type));
  const auto count = static_cast<int64_t>(values.size());
  convert_from_f32(type, values.data(), count, narrow.data());
  convert_to_f32(type, narrow.data(), count, values.data());
  return values;
}

// The same values as on a CPU, copied on the device from one piece of each kind.
void make_frozen(FrozenWeights& frozen, Device& device, const std::vector<float>& noise,
                 const std::map<std::string, Init>& inits) {
  const auto kept = [&](const std::vector<float>& values) {
    Buffer buffer = device.allocate(values.size() * sizeof(float));
    device.upload(buffer.data(), values.data(), buffer.size());
    return buffer;
  };
  const auto size = static_cast<int64_t>(noise.size());
  const Buffer random = kept(noise);
  const Buffer ones = kept(std::vector<float>(noise.size(), 1.0F));
  frozen.make(device, [&](const std::string& name, const Shape&, ElementRange part, float* to) {
    const Init init = inits.at(name);
    if (init == Init::zeros) {
      device.zero(to, static_cast<size_t>(part.size()) * sizeof(float));
      return;
    }
    for (int64_t at = part.begin; at < part.end;) {
      const int64_t n = std::min(part.end - at, size - at % size);
      device.copy(to + (at - part.begin), (init == Init::ones ? ones : random).f32() + at % size,
                  static_cast<size_t>(n) * sizeof(float));
      at += n;
    }
  });
}

}  // namespace

LoadedModel random_model(const Model& shape, Device& device, DType compute,
                         const Holding& holding) {
  const DType weight_type = held_type(shape);
  LoadedModel loaded;
  loaded.model = shape;
  loaded.target = {device.kind(), compute};
  loaded.weight_type = weight_type;
  loaded.allocate(device, holding);
  // A stretch of random numbers, repeated: speed does not depend on more.
  constexpr int64_t kNoise = int64_t{1} << 20;
  const auto stored = [&](auto&& value) {
    std::vector<float> floats(kNoise);
    for (int64_t i = 0; i < kNoise; ++i) {
      floats[static_cast<size_t>(i)] = value(static_cast<uint64_t>(i));
    }
    std::vector<std::byte> bytes(floats.size() * size_of(weight_type));
    convert_from_f32(weight_type, floats.data(), kNoise, bytes.data());
    return bytes;
  };
  std::vector<float> wide(kNoise);
  for (int64_t i = 0; i < kNoise; ++i) {
    wide[static_cast<size_t>(i)] =
        loaded.model.config.initializer_range * normal(1, 0, static_cast<uint64_t>(i));
  }
  const std::vector<std::byte> noise = stored([&](uint64_t i) { return wide[i]; });
  const std::vector<std::byte> ones = stored([](uint64_t) { return 1.0F; });
  std::map<std::string, Init> inits;
  for (const ParamSpec* const spec : loaded.model.parameters()) {
    for (const ParamPiece& piece : spec->pieces) {
      inits[piece.name] = spec->init;
    }
  }
  const size_t width = size_of(weight_type);
  for (const HeldPart& part : loaded.held_parts()) {
    const Init init = inits.at(part.name);
    for (int64_t at = part.begin; at < part.end && init != Init::zeros;) {
      const int64_t n = std::min(part.end - at, kNoise - at % kNoise);
      loaded.optimizer_device(device).upload(
          part.data + static_cast<size_t>(at - part.begin) * width,
          (init == Init::ones ? ones : noise).data() + static_cast<size_t>(at % kNoise) * width,
          static_cast<size_t>(n) * width);
      at += n;
    }
  }
  if (device.kind() == DeviceKind::cpu || holding.offload_param) {
    loaded.frozen.read(
        device,
        [&](const std::string& name, const Shape&, ElementRange part, float* to) {
          const Init init = inits.at(name);
          for (int64_t i = part.begin; i < part.end; ++i) {
            *to++ = init == Init::normal ? wide[static_cast<size_t>(i % kNoise)]
                                         : static_cast<float>(init == Init::ones);
          }
        },
        [](const std::string&, Tensor& packed) {  // zeros, where only files have such
          const bool zeros = !can_encode(packed.dtype);
          std::fill_n(packed.as<std::byte>(), zeros ? packed.bytes() : 0, std::byte{});
          return zeros;
        });
  } else {
    make_frozen(loaded.frozen, device, rounded_to(shape.packed_from, wide), inits);
  }
  loaded.refresh_copy(device);
  return loaded;
}

}  // namespace sft
