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
  SFT_ASSERT(range.begin % kTile == 0 && range.end % kTile == 0);
  SFT_ASSERT(range.begin >= 0 && range.begin <= range.end && range.end <= layout.elements);
  const int blocks = static_cast<int>(layout.block_offsets.size()) - 1;
  for (size_t i = 0; i < specs.size(); ++i) {
    const ParamSpec& spec = specs[i];
    const int64_t begin = layout.offsets[i];
    const int64_t end = begin + tiles(spec.shape.elements()) * kTile;
    StateSegment like{};
    like.rule = settings.rule;
    like.format = settings.format;
    like.decay = settings.weight_decay != 0.0 && decays(spec);
    like.rounded = settings.rounds_weights && spec.kind != ParamKind::magnitude;
    if (takes_whole(settings.whole, spec, blocks)) {
      like.whole = true;
      like.rule = settings.whole == WholeStep::muon ? RuleName::momentum : RuleName::direction;
      append_tensors(spec, begin);
    }
    if (like.format != StateFormat::block8 || spec.words || !pieces_begin_at_tiles(spec)) {
      like.format = like.format == StateFormat::block8 ? StateFormat::f32 : like.format;
      append({begin, end}, like);
      continue;
    }
    for_pieces(spec, begin, [&](const ParamPiece&, ElementRange piece) {
      like.format = piece.size() < kSmall ? StateFormat::f32 : settings.format;
      append({piece.begin, piece.begin + tiles(piece.size()) * kTile}, like);
    });
  }
}

std::vector<RuleName> StateLayout::rules() const {
  std::vector<RuleName> out;
  for (const StateSegment& s : segments_) {
    if (std::ranges::find(out, s.rule) == out.end()) {
      out.push_back(s.rule);
    }
  }
  return out;
}

bool StateLayout::has_scales() const {
  return std::ranges::any_of(scales_, [](int64_t n) { return n > 0; });
}

int64_t StateLayout::bytes() const {
  int64_t all = 4 * whole_elements_;
  for (size_t slot = 0; slot < kMaxSlots; ++slot) {
    all += bytes_[slot] + 4 * scales_[slot];
  }
  return all;
}

void StateLayout::append(ElementRange whole, const StateSegment& like) {
  const ElementRange own = common(whole, range_);
  if (own.size() <= 0) {
    return;
  }
  StateSegment* last = segments_.empty() ? nullptr : &segments_.back();
  if (last != nullptr && last->format == like.format && last->decay == like.decay &&
      last->rule == like.rule && last->whole == like.whole && last->rounded == like.rounded &&
      last->end == own.begin) {
    last->end = own.end;
  } else {
    StateSegment next = like;
    next.begin = own.begin;
    next.end = own.end;
    std::ranges::copy(bytes_, next.at);
    std::ranges::copy(scales_, next.scale_at);
    segments_.push_back(next);
  }
  const StateFormatInfo& info = info_of(like.format);
  for (int slot = 0; slot < kMaxSlots; ++slot) {
    if (uses_slot(like.rule, settings_, slot)) {
      bytes_[static_cast<size_t>(slot)] += own.size() * static_cast<int64_t>(size_of(info.dtype));
      scales_[static_cast<size_t>(slot)] += info.scaled ? own.size() / kTile : 0;
    }
  }
}

void StateLayout::append_tensors(const ParamSpec& spec, int64_t begin) {
  const std::span<const WholeSlot> slots = whole_slots(settings_.whole);
  for_pieces(spec, begin, [&](const ParamPiece& piece, ElementRange all) {
    if (common(all, range_).size() <= 0) {
      return;
    }
    StateTensor tensor{all, spec.shape_of(piece), {}};
    for (size_t k = 0; k < kMaxWholeSlots; ++k) {
      const int64_t n = k < slots.size() ? whole_slot_elements(slots[k], tensor.shape) : 0;
      tensor.at[k] = n > 0 ? whole_elements_ : -1;
      whole_elements_ += n;
    }
    tensors_.push_back(tensor);
  });
}

std::vector<StatePart> StateLayout::parts(const std::vector<ParamSpec>& specs,
                                          const ParamLayout& layout) const {
  std::vector<StatePart> out;
  size_t segment = 0;
  size_t tensor = 0;
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
    const std::span<const StateSlot> slots = slots_of(s.rule);
    for (size_t k = 0; k < slots.size(); ++k) {
      const int slot = static_cast<int>(k);
      if (!uses_slot(s.rule, settings_, slot)) {
        continue;
      }
      const std::string prefix(slots[k].name);
      out.push_back({prefix + "." + piece.name, spec.shape_of(piece), own.begin - all.begin,
                     own.end - all.begin, info.dtype, slot, false,
                     s.at[k] + (own.begin - s.begin) * static_cast<int64_t>(size_of(info.dtype))});
      if (info.scaled) {
        out.push_back({prefix + "_scale." + piece.name,
                       {tiles(all.size())},
                       (own.begin - all.begin) / kTile,
                       tiles(own.end - all.begin),
                       DType::f32,
                       slot,
                       true,
                       (s.scale_at[k] + (own.begin - s.begin) / kTile) * 4});
      }
    }
    if (!s.whole) {
      return;
    }
    const StateTensor& t = tensors_[tensor++];
    const std::span<const WholeSlot> whole = whole_slots(settings_.whole);
    for (size_t k = 0; k < whole.size(); ++k) {
      if (t.at[k] >= 0) {
        const int64_t n = whole_slot_elements(whole[k], t.shape);
        out.push_back({std::string(whole[k].name) + "." + piece.name,
                       {n},
                       0,
                       n,
                       DType::f32,
                       kMaxSlots,
                       false,
                       t.at[k] * 4});
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
      out.push_back({piece.name, specs[i].shape_of(piece), own.begin - all.begin,
                     own.end - all.begin, type, 0, false,
                     (own.begin - range.begin) * static_cast<int64_t>(size_of(type))});
    });
  }
  return out;
}

}  // namespace sft
