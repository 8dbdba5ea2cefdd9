#include "optim/optimizer.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "formats/block8.h"
#include "optim/kernels.h"

namespace sft {

Optimizer::Optimizer(Device& device, const std::vector<ParamSpec>& specs, const ParamLayout& layout,
                     const OptimizerSettings& settings, std::optional<ElementRange> range)
    : device_(device),
      settings_(settings),
      layout_(specs, layout, settings, range.value_or(ElementRange{0, layout.elements})),
      rules_(layout_.rules()),
      parts_(layout_.parts(specs, layout)) {
  const auto& segments = layout_.segments();
  table_ = device.allocate(segments.size() * sizeof(StateSegment));
  device.upload(table_.data(), segments.data(), table_.size());
  for (size_t slot = 0; slot < kMaxSlots; ++slot) {
    const int k = static_cast<int>(slot);
    values_[slot] = device.allocate(static_cast<size_t>(layout_.slot_bytes(k)));
    scales_[slot] = device.allocate(static_cast<size_t>(layout_.scales(k)) * sizeof(float));
  }
  whole_ = device.allocate(static_cast<size_t>(layout_.whole_elements()) * sizeof(float));
  if (layout_.has_scales()) {
    const auto books = block8::books();
    books_ = device.allocate(sizeof books);
    device.upload(books_.data(), books.data(), sizeof books);
  }
}

UpdateCall Optimizer::call_of(const OptimizerStep& s, RuleName name) const {
  const ElementRange range = s.range.value_or(layout_.range());
  SFT_ASSERT(range.begin >= layout_.range().begin && range.end <= layout_.range().end);
  SFT_ASSERT(range.begin % kTile == 0 && range.end % kTile == 0);
  UpdateCall call{};
  call.rule = name;
  call.begin = range.begin;
  call.end = range.end;
  call.weights = s.weights;
  call.weight_type = s.weight_type;
  call.gradients = s.gradients;
  call.copy = s.copy;
  call.copy_type = s.copy_type;
  call.segments = reinterpret_cast<const StateSegment*>(table_.data());
  call.segment_count = static_cast<int>(layout_.segments().size());
  const std::span<const StateSlot> slots = slots_of(name);
  for (size_t slot = 0; slot < slots.size(); ++slot) {
    if (uses_slot(name, settings_, static_cast<int>(slot))) {
      call.slots[slot] = {values_[slot].data(), scales_[slot].f32(), slots[slot].is_signed ? 0 : 1};
    }
  }
  call.books = reinterpret_cast<const block8::Book*>(books_.data());
  call.clip = static_cast<float>(s.clip);
  call.seed = settings_.seed;
  call.step = static_cast<uint64_t>(s.step);
  with_rule(name, [&](auto rule) {
    using Rule = decltype(rule);
    call.decay = Rule::decay(settings_, s.learning_rate);
    call.no_decay = Rule::kNoDecay;
    call.scalars.set(Rule::scalars(settings_, s.learning_rate, s.step));
  });
  return call;
}

void Optimizer::step(const OptimizerStep& s) {
  for (const RuleName rule : rules_) {
    const UpdateCall call = call_of(s, rule);
    if (call.end > call.begin && rule != RuleName::direction) {
      optim_kernels(device_).update(device_, call);
    }
  }
}

void Optimizer::step_whole(OptimizerStep s, ElementRange whole, std::byte* workspace) {
  for (const StateTensor& t : layout_.tensors()) {
    SFT_ASSERT(t.range.begin >= whole.begin && t.range.end <= whole.end);
    const bool vector = has_state_by_value(t.shape);
    WholeTensor tensor{s.gradients + (t.range.begin - whole.begin),
                       vector ? 1 : t.shape[0],
                       vector ? t.shape.elements() : t.shape[1],
                       vector,
                       {}};
    for (size_t k = 0; k < kMaxWholeSlots; ++k) {
      tensor.states[k] = t.at[k] >= 0 ? whole_.f32() + t.at[k] : nullptr;
    }
    // Muon's gradients were clipped in the pass before.
    const double clip = settings_.whole == WholeStep::muon ? 1.0 : s.clip;
    optim_kernels(device_).whole(device_, settings_.whole, tensor,
                                 whole_scalars(settings_, t.shape, clip, s.step), workspace);
  }
  s.gradients += layout_.range().begin - whole.begin;
  s.clip = 1.0;
  UpdateCall call = call_of(s, RuleName::direction);
  call.after_whole = true;
  if (call.end > call.begin) {
    optim_kernels(device_).update(device_, call);
  }
}

const OptimKernels& optim_kernels(const Device& device) {
  static constexpr OptimKernels kCpu{SFT_OPTIM_KERNELS(SFT_CPU_KERNEL)};
  const OptimKernels* own = device.optim_kernels();
  return own != nullptr ? *own : kCpu;
}

double l2_norm(Device& device, const float* x, int64_t n) {
  return optim_kernels(device).l2_norm(device, x, n);
}

double clip_factor(double norm, double max_norm) {
  // In this order a norm that is no number stays none.
  return max_norm > 0.0 ? std::min(max_norm / (norm + 1e-6), 1.0) : 1.0;
}

}  // namespace sft
