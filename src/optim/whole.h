// Steps that take whole tensors: what becomes of a tensor's gradient before weights go along it
// (optim/rules/direction.h), and the states that belong to a tensor and not to its elements.
#pragma once

#include <span>

#include "graph/parameter.h"
#include "optim/settings.h"

namespace sft {

// A state of float32 values for each row or each column of a matrix, or for each value of a vector.
struct WholeSlot {
  std::string_view name;  // "exp_avg_sq_row"
  enum class Extent : uint8_t { rows, columns, vector } extent;
};
constexpr int kMaxWholeSlots = 3;
std::span<const WholeSlot> whole_slots(WholeStep step);
// Whether a tensor has a state for each of its values: a vector, or the filters (channels, 1, taps)
// of a convolution, whose factors over their last two dimensions come to the same.
bool has_state_by_value(const Shape& shape);
// Values that a published tensor of `shape` has in a slot; 0: it has no such state.
int64_t whole_slot_elements(const WholeSlot& slot, const Shape& shape);

// Whether the step takes this parameter. `blocks`: of the model.
bool takes_whole(WholeStep step, const ParamSpec& spec, int blocks);

// A published tensor's gradient, which becomes its direction, in place.
struct WholeTensor {
  float* values;
  int64_t rows, columns;  // what has a state by value has one row
  bool is_vector;
  float* states[kMaxWholeSlots];  // null where it has none
};

// The numbers of one step.
struct WholeScalars {
  float clip;  // what gradients are multiplied by first
  // Muon: what the direction is multiplied by. Zhang et al. and Jordan (2024); Liu et al., "Muon is
  // scalable for LLM training" (2025).
  float scale;
  // Adafactor (Shazeer and Stern 2018), as in transformers without relative steps.
  float beta2, one_minus_beta2, epsilon, clip_threshold;
};
WholeScalars whole_scalars(const OptimizerSettings& settings, const Shape& shape, double clip,
                           int64_t step);

// Newton-Schulz's quintic iteration of Muon, in bfloat16 as torch computes it.
struct NewtonSchulz {
  static constexpr float kA = 3.4445F, kB = -4.7750F, kC = 2.0315F;
  static constexpr int kSteps = 5;
  static constexpr float kLeastNorm = 1e-7F;
};
// Bytes that a device needs to work in for the largest tensor that the step takes.
int64_t whole_workspace(WholeStep step, const std::vector<ParamSpec>& specs, int blocks);

}  // namespace sft
