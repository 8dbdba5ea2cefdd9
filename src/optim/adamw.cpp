#include "optim/adamw.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "optim/block8.h"
#include "optim/kernels.h"

namespace sft {

AdamW::AdamW(Device& device, const std::vector<ParamSpec>& specs, const ParamLayout& layout,
             const AdamWOptions& options, std::optional<ElementRange> range)
    : device_(device),
      options_(options),
      layout_(specs, layout, options.format, range.value_or(ElementRange{0, layout.elements}),
              options.weight_decay != 0.0),
      parts_(layout_.parts(specs, layout)) {
  const auto& segments = layout_.segments();
  table_ = device.allocate(segments.size() * sizeof(StateSegment));
  device.upload(table_.data(), segments.data(), table_.size());
  for (int i = 0; i < 2; ++i) {
    moments_[i] = device.allocate(static_cast<size_t>(layout_.moment_bytes()));
    scales_[i] = device.allocate(static_cast<size_t>(layout_.scales()) * sizeof(float));
  }
  if (layout_.scales() > 0) {
    const auto books = block8::books();
    books_ = device.allocate(sizeof books);
    device.upload(books_.data(), books.data(), sizeof books);
  }
}

void AdamW::step(const AdamWStep& s) {
  const ElementRange range = s.range.value_or(layout_.range());
  SFT_ASSERT(range.begin >= layout_.range().begin && range.end <= layout_.range().end);
  SFT_ASSERT(range.begin % kTile == 0 && range.end % kTile == 0);
  if (range.size() <= 0) {
    return;
  }
  const auto n = static_cast<double>(s.step);
  const double correction1 = 1.0 - std::pow(options_.beta1, n);
  const double correction2 = 1.0 - std::pow(options_.beta2, n);
  AdamWCall call{};
  call.begin = range.begin;
  call.end = range.end;
  call.weights = s.weights;
  call.weight_type = s.weight_type;
  call.gradients = s.gradients;
  call.copy = s.copy;
  call.copy_type = s.copy_type;
  call.segments = reinterpret_cast<const StateSegment*>(table_.data());
  call.segment_count = static_cast<int>(layout_.segments().size());
  call.first = moments_[0].data();
  call.second = moments_[1].data();
  call.first_scales = scales_[0].f32();
  call.second_scales = scales_[1].f32();
  call.books = reinterpret_cast<const block8::Book*>(books_.data());
  call.update = {static_cast<float>(s.clip),
                 static_cast<float>(options_.beta1),
                 static_cast<float>(1.0 - options_.beta1),
                 static_cast<float>(options_.beta2),
                 static_cast<float>(1.0 - options_.beta2),
                 static_cast<float>(1.0 - s.learning_rate * options_.weight_decay),
                 static_cast<float>(s.learning_rate / correction1),
                 static_cast<float>(1.0 / std::sqrt(correction2)),
                 static_cast<float>(options_.epsilon),
                 options_.seed,
                 static_cast<uint64_t>(s.step)};
  const OptimKernels* own = device_.optim_kernels();
  (own != nullptr ? own->adamw : cpu::adamw)(device_, call);
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
