#include "state/frozen_weights.h"

#include <algorithm>

#include "core/error.h"
#include "formats/convert.h"
#include "formats/format.h"

namespace sft {

FrozenWeights::FrozenWeights(const Model& model, DType compute, ShardPlace place, bool on_host,
                             Device& device)
    : specs_(model.frozen),
      compute_(compute),
      packed_from_(model.packed_from),
      layout_(layout_frozen(specs_, model.blocks(), compute)),
      shards_(layout_, place),
      on_host_(on_host) {
  const bool slices = place.stage == 3;
  const auto held =
      static_cast<size_t>(slices ? shards_.slice_elements() : shards_.whole_elements());
  held_ = on_host ? device.allocate_host(held) : device.allocate(held);
  if (slices) {
    slots_ = BlockSlots(shards_);
    gathered_ = device.allocate(static_cast<size_t>(slots_.elements()));
  }
}

FrozenWeights::Bytes FrozenWeights::bytes(const Model& model, DType compute, ShardPlace place,
                                          bool on_host) {
  const ShardLayout shards(layout_frozen(model.frozen, model.blocks(), compute), place);
  if (place.stage < 3) {
    return {shards.whole_elements(), 0};
  }
  const int64_t slots = BlockSlots(shards).elements();
  return on_host ? Bytes{slots, shards.slice_elements()} : Bytes{slots + shards.slice_elements()};
}

std::vector<Tensor> FrozenWeights::tensors() const {
  std::vector<Tensor> out;
  for (size_t i = 0; i < specs_.size(); ++i) {
    const ParamSpec& spec = specs_[i];
    const int64_t in_block = layout_.offsets[i] - shards_.block(spec.block).begin;
    std::byte* const block = shards_.place().stage == 3
                                 ? gathered(spec.block)
                                 : held_.data() + shards_.whole_at(spec.block);
    out.push_back({block + in_block, spec.shape, read_type(spec, compute_)});
  }
  return out;
}

FrozenWeights::Held FrozenWeights::held(int block) const {
  const bool slices = shards_.place().stage == 3;
  return {slices ? shards_.own(block).range : shards_.block(block),
          held_.data() + (slices ? shards_.slice_at(block) : shards_.whole_at(block))};
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

// Scales need a whole tensor, of which then the bytes that are held are kept.
void FrozenWeights::read_packed(Device& device, const ReadTensor& read, const ReadPacked& as_it_is,
                                size_t parameter) {
  const ParamSpec& spec = specs_[parameter];
  SFT_ASSERT(spec.pieces.size() == 1);  // Model::parts
  const Held held = this->held(spec.block);
  const int64_t begin = layout_.offsets[parameter];
  Tensor packed{nullptr, spec.shape, *spec.stored};
  const int64_t first = std::max(begin, held.range.begin);
  const int64_t last = std::min(begin + static_cast<int64_t>(packed.bytes()), held.range.end);
  if (first >= last) {
    return;
  }
  std::vector<std::byte> bytes(packed.bytes());
  packed.data = bytes.data();
  if (!as_it_is || !as_it_is(spec.pieces[0].name, packed)) {
    const int64_t count = spec.shape.elements();
    std::vector<float> values(static_cast<size_t>(count));
    read(spec.pieces[0].name, spec.shape, {0, count}, values.data());
    if (packed_from_ != DType::f32) {
      std::vector<std::byte> narrow(values.size() * size_of(packed_from_));
      convert_from_f32(packed_from_, values.data(), count, narrow.data(), &device.threads());
      convert_to_f32(packed_from_, narrow.data(), count, values.data(), &device.threads());
    }
    encode(values.data(), packed, &device.threads());
  }
  device.upload(held.data + (first - held.range.begin), bytes.data() + (first - begin),
                static_cast<size_t>(last - first));
}

}  // namespace sft
