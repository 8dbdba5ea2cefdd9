#include "optim/optimizer.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "optim/block8.h"
#include "optim/kernels.h"

namespace sft {

Optimizer::Optimizer(Device& device, const std::vector<ParamSpec>& specs, const ParamLayout& layout,
                     const OptimizerSettings& settings, std::optional<ElementRange> range)
    : device_(device),
      settings_(settings),
      layout_(specs, layout, settings, range.value_or(ElementRange{0, layout.elements})),
      parts_(layout_.parts(specs, layout)) {
  const auto& segments = layout_.segments();
  table_ = device.allocate(segments.size() * sizeof(StateSegment));
  device.upload(table_.data(), segments.data(), table_.size());
  for (size_t slot = 0; slot < kMaxSlots; ++slot) {
    if (layout_.uses(static_cast<int>(slot))) {
      values_[slot] = device.allocate(static_cast<size_t>(layout_.slot_bytes()));
      scales_[slot] = device.allocate(static_cast<size_t>(layout_.scales()) * sizeof(float));
    }
  }
  if (layout_.scales() > 0) {
    const auto books = block8::books();
    books_ = device.allocate(sizeof books);
    device.upload(books_.data(), books.data(), sizeof books);
  }
}

void Optimizer::step(const OptimizerStep& s) {
  const ElementRange range = s.range.value_or(layout_.range());
  SFT_ASSERT(range.begin >= layout_.range().begin && range.end <= layout_.range().end);
  SFT_ASSERT(range.begin % kTile == 0 && range.end % kTile == 0);
  if (range.size() <= 0) {
    return;
  }
  UpdateCall call{};
  call.rule = settings_.rule;
  call.begin = range.begin;
  call.end = range.end;
  call.weights = s.weights;
  call.weight_type = s.weight_type;
  call.gradients = s.gradients;
  call.copy = s.copy;
  call.copy_type = s.copy_type;
  call.segments = reinterpret_cast<const StateSegment*>(table_.data());
  call.segment_count = static_cast<int>(layout_.segments().size());
  const std::span<const StateSlot> slots = slots_of(settings_.rule);
  for (size_t slot = 0; slot < slots.size(); ++slot) {
    call.slots[slot] = {values_[slot].data(), scales_[slot].f32(), slots[slot].is_signed ? 0 : 1};
  }
  call.books = reinterpret_cast<const block8::Book*>(books_.data());
  call.clip = static_cast<float>(s.clip);
  call.seed = settings_.seed;
  call.step = static_cast<uint64_t>(s.step);
  with_rule(settings_.rule, [&](auto rule) {
    using Rule = decltype(rule);
    call.decay = Rule::decay(settings_, s.learning_rate);
    call.no_decay = Rule::kNoDecay;
    call.scalars.set(Rule::scalars(settings_, s.learning_rate, s.step));
  });
  const OptimKernels* own = device_.optim_kernels();
  (own != nullptr ? own->update : cpu::update)(device_, call);
}

double l2_norm(Device& device, const float* x, int64_t n) {
  const OptimKernels* own = device.optim_kernels();
  return own != nullptr ? own->l2_norm(device, x, n) : cpu::l2_norm(device, x, n);
}

double clip_factor(double norm, double max_norm) {
  // In this order a norm that is no number stays none.
  return max_norm > 0.0 ? std::min(max_norm / (norm + 1e-6), 1.0) : 1.0;
}

}  // namespace sft
