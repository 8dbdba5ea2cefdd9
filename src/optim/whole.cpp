#include "optim/whole.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace sft {

namespace {

constexpr std::array<WholeSlot, 3> kAdafactorSlots{{{"exp_avg_sq_row", WholeSlot::Extent::rows},
                                                    {"exp_avg_sq_col", WholeSlot::Extent::columns},
                                                    {"exp_avg_sq", WholeSlot::Extent::vector}}};

double rate_adjustment(RateAdjustment kind, const Shape& shape) {
  const auto rows = static_cast<double>(shape[0]);
  const auto columns = static_cast<double>(shape[1]);
  switch (kind) {
    case RateAdjustment::original:
      return std::sqrt(std::max(1.0, rows / columns));
    case RateAdjustment::match_rms_adamw:
      return 0.2 * std::sqrt(std::max(rows, columns));
    case RateAdjustment::spectral_unclamped:
      return std::sqrt(rows / columns);
  }
  return 1.0;
}

}  // namespace

std::span<const WholeSlot> whole_slots(WholeStep step) {
  return step == WholeStep::adafactor ? std::span<const WholeSlot>(kAdafactorSlots)
                                      : std::span<const WholeSlot>();
}

bool has_state_by_value(const Shape& shape) {
  return shape.rank() < 2 || (shape.rank() == 3 && shape[1] == 1);
}

int64_t whole_slot_elements(const WholeSlot& slot, const Shape& shape) {
  const bool vector = has_state_by_value(shape);
  switch (slot.extent) {
    case WholeSlot::Extent::rows:
      return vector ? 0 : shape[0];
    case WholeSlot::Extent::columns:
      return vector ? 0 : shape[1];
    case WholeSlot::Extent::vector:
      return vector ? shape.elements() : 0;
  }
  return 0;
}

bool takes_whole(WholeStep step, const ParamSpec& spec, int blocks) {
  switch (step) {
    case WholeStep::none:
      return false;
    case WholeStep::muon:  // not the embeddings, nor the head
      return spec.kind == ParamKind::matrix && spec.shape.rank() == 2 && spec.block > 0 &&
             spec.block < blocks - 1;
    case WholeStep::adafactor:
      return true;
  }
  return false;
}

WholeScalars whole_scalars(const OptimizerSettings& s, const Shape& shape, double clip,
                           int64_t step) {
  const double beta2 = 1.0 - std::pow(static_cast<double>(step), s.decay_rate);
  WholeScalars out{};
  out.clip = static_cast<float>(clip);
  if (s.whole == WholeStep::muon) {
    out.scale = static_cast<float>(rate_adjustment(s.adjustment, shape));
  }
  out.beta2 = static_cast<float>(beta2);
  out.one_minus_beta2 = static_cast<float>(1.0 - beta2);
  out.epsilon = static_cast<float>(s.epsilon);
  out.clip_threshold = static_cast<float>(s.clip_threshold);
  return out;
}

int64_t whole_workspace(WholeStep step, const std::vector<ParamSpec>& specs, int blocks) {
  int64_t most = 0;
  for (const ParamSpec& spec : specs) {
    if (step != WholeStep::muon || !takes_whole(step, spec, blocks)) {
      continue;
    }
    for (const ParamPiece& piece : spec.pieces) {
      // Two copies of the matrix, its Gram matrix and that one's polynomial, in float32 on CPUs.
      const int64_t small = std::min(piece.rows, spec.shape[1]);
      most = std::max(most, 2 * piece.rows * spec.shape[1] + 2 * small * small);
    }
  }
  return most * static_cast<int64_t>(sizeof(float));
}

}  // namespace sft
