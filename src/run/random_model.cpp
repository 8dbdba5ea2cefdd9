#include "run/random_model.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <string>
#include <utility>
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

// Codes and scales, repeated, of the formats that only files have (can_encode): drawn numbers of
// the size that weights have. None for ggml's blocks, which stay zero: no config.json asks for
// them.
struct DrawnBytes {
  static constexpr int64_t kSize = int64_t{1} << 20;
  std::vector<std::byte> codes, scales;

  explicit DrawnBytes(DType type) {
    if (type != DType::mxfp4 && type != DType::f8_blocks) {
      return;
    }
    codes.resize(kSize);
    scales.resize(kSize);
    for (int64_t i = 0; i < kSize; ++i) {
      const uint32_t drawn = philox(5, 0, static_cast<uint64_t>(i))[0];
      // e4m3: between a half and one. MXFP4: any code, times 2^-7.
      const uint32_t code = type == DType::mxfp4 ? drawn & 255U : (drawn & 0x87U) | 0x30U;
      codes[static_cast<size_t>(i)] = static_cast<std::byte>(code);
      scales[static_cast<size_t>(i)] = std::byte{120};
    }
    constexpr float kScale = 0.03F;
    for (size_t i = 0; type == DType::f8_blocks && i < scales.size(); i += sizeof(kScale)) {
      std::memcpy(scales.data() + i, &kScale, sizeof(kScale));
    }
  }
};

// Calls copy(to, codes or scales, offset in these, bytes) until a packed tensor's `bytes` are
// there.
template <class Copy>
void lay_drawn(const Tensor& packed, ElementRange bytes, std::byte* to, const Copy& copy) {
  const auto scales = static_cast<int64_t>(scales_at(packed.dtype, packed.shape));
  for (int64_t at = bytes.begin; at < bytes.end;) {
    const bool code = at < scales;
    const int64_t offset = (code ? at : at - scales) % DrawnBytes::kSize;
    const int64_t n =
        std::min((code ? std::min(scales, bytes.end) : bytes.end) - at, DrawnBytes::kSize - offset);
    copy(to + (at - bytes.begin), code, offset, static_cast<size_t>(n));
    at += n;
  }
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
  std::map<DType, std::array<Buffer, 2>> drawn;  // codes and scales
  const auto lay = [&](const Tensor& packed, ElementRange bytes, std::byte* to) {
    auto& pieces = drawn[packed.dtype];
    if (const DrawnBytes host(packed.dtype); pieces[0].size() < host.codes.size()) {
      for (const auto& [piece, from] :
           {std::pair(&pieces[0], &host.codes), {&pieces[1], &host.scales}}) {
        *piece = device.allocate(from->size());
        device.upload(piece->data(), from->data(), from->size());
      }
    }
    if (pieces[0].size() > 0) {
      lay_drawn(packed, bytes, to, [&](std::byte* at, bool code, int64_t offset, size_t n) {
        device.copy(at, pieces[code ? 0 : 1].data() + offset, n);
      });
    }
  };
  const auto make = [&](const std::string& name, const Shape&, ElementRange part, float* to) {
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
  };
  frozen.make(device, make, lay);
  device.synchronize();  // before the pieces go
}

}  // namespace

LoadedModel random_model(const Model& shape, Device& device, DType compute,
                         const Holding& holding) {
  const DType weight_type = held_type(shape);
  LoadedModel loaded;
  loaded.model = shape;
  loaded.target = device.target(compute);
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
        [](const std::string&, Tensor& packed) {
          if (can_encode(packed.dtype)) {
            return false;
          }
          const DrawnBytes drawn(packed.dtype);
          std::fill_n(packed.as<std::byte>(), packed.bytes(), std::byte{});
          if (!drawn.codes.empty()) {
            lay_drawn(packed, {0, static_cast<int64_t>(packed.bytes())}, packed.as<std::byte>(),
                      [&](std::byte* at, bool code, int64_t offset, size_t n) {
                        std::memcpy(at, (code ? drawn.codes : drawn.scales).data() + offset, n);
                      });
          }
          return true;
        });
  } else {
    make_frozen(loaded.frozen, device, rounded_to(shape.packed_from, wide), inits);
  }
  loaded.refresh_copy(device);
  return loaded;
}

}  // namespace sft
