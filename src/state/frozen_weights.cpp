#include "state/frozen_weights.h"

#include <algorithm>

#include "core/error.h"
#include "formats/convert.h"
#include "formats/format.h"
#include "ops/kernels.h"

namespace sft {

namespace {

// Bytes of what stays in the host's memory as OnHost::embeddings.
int64_t first_block(const ShardLayout& shards, FrozenWeights::OnHost on_host) {
  const bool has = on_host == FrozenWeights::OnHost::embeddings && shards.blocks() > 0;
  return has ? shards.whole(0) : 0;
}

}  // namespace

FrozenWeights::FrozenWeights(const Model& model, DType compute, ShardPlace place, OnHost on_host,
                             Device& device)
    : specs_(model.frozen),
      compute_(compute),
      packed_from_(model.packed_from),
      layout_(layout_frozen(specs_, model.blocks(), compute)),
      shards_(layout_, place),
      on_host_(on_host) {
  const bool slices = place.stage == 3;
  SFT_ASSERT(on_host == OnHost::nothing || slices == (on_host == OnHost::all));
  const int64_t apart = first_block(shards_, on_host);
  const auto held =
      static_cast<size_t>((slices ? shards_.slice_elements() : shards_.whole_elements()) - apart);
  held_ = on_host == OnHost::all ? device.allocate_host(held) : device.allocate(held);
  embeddings_ = device.allocate_host(static_cast<size_t>(apart));
  if (slices) {
    slots_ = BlockSlots(shards_);
    gathered_ = device.allocate(static_cast<size_t>(slots_.elements()));
  }
}

FrozenWeights::Bytes FrozenWeights::bytes(const Model& model, DType compute, ShardPlace place,
                                          OnHost on_host) {
  const ShardLayout shards(layout_frozen(model.frozen, model.blocks(), compute), place);
  if (place.stage < 3) {
    const int64_t apart = first_block(shards, on_host);
    return {shards.whole_elements() - apart, apart};
  }
  const int64_t slots = BlockSlots(shards).elements();
  return on_host == OnHost::all ? Bytes{slots, shards.slice_elements()}
                                : Bytes{slots + shards.slice_elements()};
}

std::vector<Tensor> FrozenWeights::tensors() const {
  std::vector<Tensor> out;
  for (size_t i = 0; i < specs_.size(); ++i) {
    const ParamSpec& spec = specs_[i];
    const int64_t in_block = layout_.offsets[i] - shards_.block(spec.block).begin;
    std::byte* const block = shards_.place().stage == 3 ? gathered(spec.block) : whole(spec.block);
    out.push_back({block + in_block, spec.shape, read_type(spec, compute_)});
  }
  return out;
}

std::byte* FrozenWeights::whole(int block) const {
  if (embeddings_.size() == 0) {
    return held_.data() + shards_.whole_at(block);
  }
  return block == 0 ? embeddings_.data()
                    : held_.data() + shards_.whole_at(block) - shards_.whole(0);
}

FrozenWeights::Held FrozenWeights::held(int block) const {
  if (shards_.place().stage < 3) {
    return {shards_.block(block), whole(block)};
  }
  return {shards_.own(block).range, held_.data() + shards_.slice_at(block)};
}

void FrozenWeights::read(Device& device, const ReadTensor& read, const ReadPacked& as_it_is) {
  for (size_t i = 0; i < specs_.size(); ++i) {
    if (is_packed(read_type(specs_[i], compute_))) {
      read_packed(device, read, as_it_is, i);
    } else {
      read_plain(device, read, i);
    }
  }
}

// In pieces, of what is held alone.
void FrozenWeights::read_plain(Device& device, const ReadTensor& read, size_t parameter) {
  constexpr int64_t kPiece = int64_t{4} << 20;
  const ParamSpec& spec = specs_[parameter];
  const DType type = read_type(spec, compute_);
  const auto width = static_cast<int64_t>(size_of(type));
  const Held held = this->held(spec.block);
  std::vector<float> wide;
  std::vector<std::byte> narrow;
  int64_t begin = layout_.offsets[parameter];
  for (const ParamPiece& piece : spec.pieces) {
    const Shape shape = spec.shape_of(piece);
    const int64_t first = std::max(begin, held.range.begin);
    const int64_t last = std::min(begin + shape.elements() * width, held.range.end);
    for (int64_t at = first; at < last; at += kPiece * width) {
      const int64_t n = std::min(kPiece, (last - at) / width);
      wide.resize(static_cast<size_t>(n));
      narrow.resize(static_cast<size_t>(n * width));
      read(piece.name, shape, {(at - begin) / width, (at - begin) / width + n}, wide.data());
      convert_from_f32(type, wide.data(), n, narrow.data(), &device.threads());
      device.upload(held.data + (at - held.range.begin), narrow.data(), narrow.size());
    }
    begin += shape.elements() * width;
  }
}

namespace {

// Reads into the host's memory, piece by piece, and sends that to the device's.
FrozenWeights::ReadTensor uploaded(Device& device, const FrozenWeights::ReadTensor& read) {
  return [&](const std::string& name, const Shape& shape, ElementRange range, float* to) {
    constexpr int64_t kPiece = int64_t{4} << 20;
    std::vector<float> values;
    for (int64_t at = range.begin; at < range.end; at += kPiece) {
      const int64_t n = std::min(kPiece, range.end - at);
      values.resize(static_cast<size_t>(n));
      read(name, shape, {at, at + n}, values.data());
      device.upload(to + (at - range.begin), values.data(), values.size() * sizeof(float));
    }
  };
}

}  // namespace

void FrozenWeights::make(Device& device, const ReadTensor& make, const LayBytes& lay) {
  for (size_t i = 0; i < specs_.size(); ++i) {
    const DType type = read_type(specs_[i], compute_);
    if (is_packed(type) && !can_encode(type)) {
      const PackedPart part = packed_part(i);
      if (lay && part.bytes.size() > 0) {
        lay(part.packed, part.bytes, part.to);
      }
    } else if (is_packed(type)) {
      make_packed(device, make, i);
    } else {
      make_plain(device, make, i);
    }
  }
}

void FrozenWeights::make_plain(Device& device, const ReadTensor& make, size_t parameter) {
  constexpr int64_t kPiece = int64_t{16} << 20;
  const ParamSpec& spec = specs_[parameter];
  const DType type = read_type(spec, compute_);
  const auto width = static_cast<int64_t>(size_of(type));
  const Held held = this->held(spec.block);
  const Buffer wide =
      device.allocate(static_cast<size_t>(std::min(kPiece, spec.shape.elements())) * sizeof(float));
  int64_t begin = layout_.offsets[parameter];
  for (const ParamPiece& piece : spec.pieces) {
    auto dims = spec.shape.dims();
    dims[0] = piece.rows;
    const Shape shape(dims);
    const int64_t first = std::max(begin, held.range.begin);
    const int64_t last = std::min(begin + shape.elements() * width, held.range.end);
    for (int64_t at = first; at < last; at += kPiece * width) {
      const int64_t n = std::min(kPiece, (last - at) / width);
      make(piece.name, shape, {(at - begin) / width, (at - begin) / width + n}, wide.f32());
      Tensor narrow{held.data + (at - held.range.begin), {n}, type};
      device.add({wide.data(), {n}, DType::f32}, narrow, false);
    }
    begin += shape.elements() * width;
  }
  device.synchronize();  // before `wide` goes
}

FrozenWeights::PackedPart FrozenWeights::packed_part(size_t parameter) const {
  const ParamSpec& spec = specs_[parameter];
  SFT_ASSERT(spec.pieces.size() == 1);  // Model::parts
  const Tensor packed{nullptr, spec.shape, *spec.stored};
  const auto bytes = static_cast<int64_t>(packed.bytes());
  const Held held = this->held(spec.block);
  const int64_t begin = layout_.offsets[parameter];
  const int64_t first = std::max(begin, held.range.begin);
  const int64_t last = std::max(first, std::min(begin + bytes, held.range.end));
  return {packed, {first - begin, last - begin}, held.data + (first - held.range.begin)};
}

// Scales need a whole tensor, of which then the bytes that are held are kept.
void FrozenWeights::read_packed(Device& device, const ReadTensor& read, const ReadPacked& as_it_is,
                                size_t parameter) {
  PackedPart part = packed_part(parameter);
  if (part.bytes.size() == 0) {
    return;
  }
  std::vector<std::byte> memory(part.packed.bytes());
  part.packed.data = memory.data();
  if (!as_it_is || !as_it_is(specs_[parameter].pieces[0].name, part.packed)) {
    // Rounded to what is published before it is packed.
    const auto rounded = [&](const std::string& name, const Shape& shape, ElementRange range,
                             float* to) {
      read(name, shape, range, to);
      if (packed_from_ != DType::f32) {
        std::vector<std::byte> narrow(static_cast<size_t>(range.size()) * size_of(packed_from_));
        convert_from_f32(packed_from_, to, range.size(), narrow.data(), &device.threads());
        convert_to_f32(packed_from_, narrow.data(), range.size(), to, &device.threads());
      }
    };
    if (device.kind() != DeviceKind::cpu) {
      make_packed(device, uploaded(device, rounded), parameter);
      return;
    }
    std::vector<float> values(static_cast<size_t>(part.packed.shape.elements()));
    rounded(specs_[parameter].pieces[0].name, part.packed.shape, {0, part.packed.shape.elements()},
            values.data());
    encode(values.data(), part.packed, &device.threads());
  }
  device.upload(part.to, memory.data() + part.bytes.begin, static_cast<size_t>(part.bytes.size()));
}

// The same of values in the device's memory.
void FrozenWeights::make_packed(Device& device, const ReadTensor& make, size_t parameter) {
  PackedPart part = packed_part(parameter);
  if (part.bytes.size() == 0) {
    return;
  }
  const Shape& shape = part.packed.shape;
  const Buffer wide = device.allocate(static_cast<size_t>(shape.elements()) * sizeof(float));
  make(specs_[parameter].pieces[0].name, shape, {0, shape.elements()}, wide.f32());
  const size_t bytes = part.packed.bytes();
  const bool in_place = part.bytes.size() == static_cast<int64_t>(bytes) && on_host_ != OnHost::all;
  const Buffer apart = device.allocate(in_place ? 0 : bytes);
  part.packed.data = in_place ? part.to : apart.data();
  kernels(device).pack(device, {wide.data(), shape, DType::f32}, part.packed);
  if (!in_place) {
    device.copy(part.to, apart.data() + part.bytes.begin, static_cast<size_t>(part.bytes.size()));
  }
  device.synchronize();  // before the buffers go
}

}  // namespace sft
