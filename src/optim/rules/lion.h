// Lion. Chen et al., "Symbolic discovery of optimization algorithms" (2023), with bitsandbytes'
// order: weights decay, then move by the sign, then the momentum changes.
#pragma once

#include "optim/rule.h"

namespace sft {

struct LionRule {
  static constexpr std::array<StateSlot, 1> kSlots{{{"exp_avg", true}}};
  static constexpr bool kHasBlocks = true;
  static constexpr bool kWritesGradient = false;
  static constexpr float kNoDecay = 1.0F;

  struct Scalars {
    float beta1, one_minus_beta1, beta2, one_minus_beta2, rate;
  };

  static bool uses(const OptimizerSettings& /*s*/, int /*slot*/) { return true; }
  static float decay(const OptimizerSettings& s, double rate) {
    return static_cast<float>(1.0 - rate * s.weight_decay);
  }
  static Scalars scalars(const OptimizerSettings& s, double rate, int64_t /*step*/) {
    return {static_cast<float>(s.beta1), static_cast<float>(1.0 - s.beta1),
            static_cast<float>(s.beta2), static_cast<float>(1.0 - s.beta2),
            static_cast<float>(rate)};
  }

  SFT_ELEMENT static void element(const Scalars& u, float decay, float& g, float& w, float* state) {
    float& m = state[0];
    const float direction = m * u.beta1 + g * u.one_minus_beta1;
    const float sign = direction > 0.0F ? 1.0F : direction < 0.0F ? -1.0F : 0.0F;
    w = w * decay - u.rate * sign;
    m = m * u.beta2 + g * u.one_minus_beta2;
  }
};

}  // namespace sft
