#include "state/frozen_weights.h"

#include <algorithm>

#include "core/error.h"
#include "io/convert.h"

namespace sft {

FrozenWeights::FrozenWeights(const Model& model, DType compute, Place place, bool on_host,
                             Device& device)
    : specs_(model.frozen),
      compute_(compute),
      layout_(layout_frozen(specs_, model.blocks(), compute)),
      shards_(layout_, place) {
  const bool slices = place.stage == 3;
  const auto held =
      static_cast<size_t>(slices ? shards_.slice_elements() : shards_.whole_elements());
  held_ = on_host ? device.allocate_host(held) : device.allocate(held);
  if (slices) {
    slots_ = BlockSlots(shards_);
    gathered_ = device.allocate(static_cast<size_t>(slots_.elements()));
  }
}

FrozenWeights::Bytes FrozenWeights::bytes(const Model& model, DType compute, Place place,
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

void FrozenWeights::read(Device& device, const ReadTensor& read) {
  constexpr int64_t kPiece = int64_t{4} << 20;
  std::vector<float> wide;
  std::vector<std::byte> narrow;
  for (size_t i = 0; i < specs_.size(); ++i) {
    const ParamSpec& spec = specs_[i];
    const DType type = read_type(spec, compute_);
    SFT_ASSERT(is_weight_dtype(type));
    const auto width = static_cast<int64_t>(size_of(type));
    const bool slices = shards_.place().stage == 3;
    const ElementRange held = slices ? shards_.own(spec.block).range : shards_.block(spec.block);
    const int64_t base =
        slices ? shards_.slice_at(spec.block) : shards_.whole_at(spec.block);  // of held.begin
    int64_t begin = layout_.offsets[i];
    for (const ParamPiece& piece : spec.pieces) {
      auto dims = spec.shape.dims();
      dims[0] = piece.rows;
      const Shape shape(dims);
      const int64_t first = std::max(begin, held.begin);
      const int64_t last = std::min(begin + shape.elements() * width, held.end);
      for (int64_t at = first; at < last; at += kPiece * width) {
        const int64_t n = std::min(kPiece, (last - at) / width);
        wide.resize(static_cast<size_t>(n));
        narrow.resize(static_cast<size_t>(n * width));
        read(piece.name, shape, {(at - begin) / width, (at - begin) / width + n}, wide.data());
        convert_from_f32(type, wide.data(), n, narrow.data(), &device.threads());
        device.upload(held_.data() + base + (at - held.begin), narrow.data(), narrow.size());
      }
      begin += shape.elements() * width;
    }
  }
}

}  // namespace sft
