#include "optim/state_layout.h"

#include <algorithm>
#include <array>

#include "core/error.h"

namespace sft {

namespace {

constexpr std::array<StateFormatInfo, 3> kFormats{
    {{StateFormat::f32, "float32", DType::f32, false},
     {StateFormat::bf16, "bfloat16", DType::bf16, false},
     {StateFormat::block8, "8-bit blocks", DType::u8, true}}};

constexpr int64_t kSmall = 4096;  // elements below which bitsandbytes keeps 32 bits

int64_t tiles(int64_t elements) { return (elements + kTile - 1) / kTile; }

bool pieces_begin_at_tiles(const ParamSpec& spec) {
  const int64_t row = spec.shape.elements() / std::max<int64_t>(spec.shape[0], 1);
  int64_t rows = 0;
  for (const ParamPiece& piece : spec.pieces) {
    if (rows * row % kTile != 0) {
      return false;
    }
    rows += piece.rows;
  }
  return true;
}

// Calls f(piece, range) for each piece of a parameter; the last one has the padding behind it.
template <class F>
void for_pieces(const ParamSpec& spec, int64_t begin, F&& f) {
  const int64_t row = spec.shape.elements() / std::max<int64_t>(spec.shape[0], 1);
  for (const ParamPiece& piece : spec.pieces) {
    f(piece, ElementRange{begin, begin + piece.rows * row});
    begin += piece.rows * row;
  }
}

ElementRange common(ElementRange a, ElementRange b) {
  return {std::max(a.begin, b.begin), std::min(a.end, b.end)};
}

}  // namespace

const StateFormatInfo& info_of(StateFormat format) { return kFormats[static_cast<size_t>(format)]; }

StateLayout::StateLayout(const std::vector<ParamSpec>& specs, const ParamLayout& layout,
                         const OptimizerSettings& settings, ElementRange range)
    : settings_(settings), range_(range) {
  const StateFormat format = settings.format;
  SFT_ASSERT(range.begin % kTile == 0 && range.end % kTile == 0);
  SFT_ASSERT(range.begin >= 0 && range.begin <= range.end && range.end <= layout.elements);
  for (size_t i = 0; i < specs.size(); ++i) {
    const ParamSpec& spec = specs[i];
    const bool decay = settings.weight_decay != 0.0 && decays(spec);
    const int64_t begin = layout.offsets[i];
    const int64_t end = begin + tiles(spec.shape.elements()) * kTile;
    if (format != StateFormat::block8 || spec.name == "model.embed_tokens.weight" ||
        !pieces_begin_at_tiles(spec)) {
      append({begin, end}, format == StateFormat::block8 ? StateFormat::f32 : format, decay);
      continue;
    }
    for_pieces(spec, begin, [&](const ParamPiece&, ElementRange piece) {
      const StateFormat own = piece.size() < kSmall ? StateFormat::f32 : format;
      append({piece.begin, piece.begin + tiles(piece.size()) * kTile}, own, decay);
    });
  }
}

int64_t StateLayout::bytes() const {
  int64_t used = 0;
  for (int slot = 0; slot < kMaxSlots; ++slot) {
    used += uses(slot) ? 1 : 0;
  }
  return used * (bytes_ + 4 * scales_);
}

void StateLayout::append(ElementRange whole, StateFormat format, bool decay) {
  const ElementRange own = common(whole, range_);
  if (own.size() <= 0) {
    return;
  }
  StateSegment* last = segments_.empty() ? nullptr : &segments_.back();
  if (last != nullptr && last->format == format && last->decay == decay && last->end == own.begin) {
    last->end = own.end;
  } else {
    segments_.push_back({own.begin, own.end, bytes_, scales_, format, decay});
  }
  const StateFormatInfo& info = info_of(format);
  bytes_ += own.size() * static_cast<int64_t>(size_of(info.dtype));
  scales_ += info.scaled ? own.size() / kTile : 0;
}

std::vector<StatePart> StateLayout::parts(const std::vector<ParamSpec>& specs,
                                          const ParamLayout& layout) const {
  std::vector<StatePart> out;
  size_t segment = 0;
  const auto add = [&](const ParamSpec& spec, const ParamPiece& piece, ElementRange all) {
    const ElementRange own = common(all, range_);
    if (own.size() <= 0) {
      return;
    }
    while (segments_[segment].end <= own.begin) {
      ++segment;
    }
    const StateSegment& s = segments_[segment];
    SFT_ASSERT(own.begin >= s.begin && own.end <= s.end);
    const StateFormatInfo& info = info_of(s.format);
    auto dims = spec.shape.dims();
    dims[0] = piece.rows;
    const std::span<const StateSlot> slots = slots_of(settings_.rule);
    for (int slot = 0; slot < static_cast<int>(slots.size()); ++slot) {
      if (!uses(slot)) {
        continue;
      }
      const std::string prefix(slots[static_cast<size_t>(slot)].name);
      out.push_back({prefix + "." + piece.name, Shape(dims), own.begin - all.begin,
                     own.end - all.begin, info.dtype, slot, false,
                     s.at + (own.begin - s.begin) * static_cast<int64_t>(size_of(info.dtype))});
      if (info.scaled) {
        out.push_back({prefix + "_scale." + piece.name,
                       {tiles(all.size())},
                       (own.begin - all.begin) / kTile,
                       tiles(own.end - all.begin),
                       DType::f32,
                       slot,
                       true,
                       (s.scale_at + (own.begin - s.begin) / kTile) * 4});
      }
    }
  };
  for (size_t i = 0; i < specs.size(); ++i) {
    for_pieces(specs[i], layout.offsets[i],
               [&](const ParamPiece& piece, ElementRange all) { add(specs[i], piece, all); });
  }
  return out;
}

std::vector<StatePart> weight_parts(const std::vector<ParamSpec>& specs, const ParamLayout& layout,
                                    ElementRange range, DType type) {
  std::vector<StatePart> out;
  for (size_t i = 0; i < specs.size(); ++i) {
    for_pieces(specs[i], layout.offsets[i], [&](const ParamPiece& piece, ElementRange all) {
      const ElementRange own = common(all, range);
      if (own.size() <= 0) {
        return;
      }
      auto dims = specs[i].shape.dims();
      dims[0] = piece.rows;
      out.push_back({piece.name, Shape(dims), own.begin - all.begin, own.end - all.begin, type, 0,
                     false, (own.begin - range.begin) * static_cast<int64_t>(size_of(type))});
    });
  }
  return out;
}

}  // namespace sft
