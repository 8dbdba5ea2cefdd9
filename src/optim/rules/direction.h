// The pass after a step that takes whole tensors: weights decay and go along what it made of their
// gradients.
#pragma once

#include "optim/rule.h"

namespace sft {

struct DirectionRule {
  static constexpr std::array<StateSlot, 0> kSlots{};
  static constexpr bool kHasBlocks = false;
  static constexpr bool kWritesGradient = false;
  static constexpr float kNoDecay = 1.0F;

  struct Scalars {
    float rate;
  };

  static bool uses(const OptimizerSettings& /*s*/, int /*slot*/) { return false; }
  static float decay(const OptimizerSettings& s, double rate) {
    return static_cast<float>(1.0 - rate * s.weight_decay);
  }
  static Scalars scalars(const OptimizerSettings& /*s*/, double rate, int64_t /*step*/) {
    return {static_cast<float>(rate)};
  }

  SFT_ELEMENT static void element(const Scalars& u, float decay, float& g, float& w,
                                  float* /*state*/) {
    w = w * decay - u.rate * g;
  }
};

}  // namespace sft
