// The pass before Muon's: gradients become the momentum's direction, Nesterov's if asked for, as
// torch.optim.Muon has it. Weights are left alone.
#pragma once

#include "optim/rule.h"

namespace sft {

struct MomentumRule {
  static constexpr std::array<StateSlot, 1> kSlots{{{"momentum_buffer", true}}};
  static constexpr bool kHasBlocks = false;
  static constexpr bool kWritesGradient = true;
  static constexpr float kNoDecay = 0.0F;

  struct Scalars {
    float one_minus_momentum;
    float share;  // of the momentum in the direction; the rest is the gradient's
  };

  static bool uses(const OptimizerSettings& /*s*/, int /*slot*/) { return true; }
  static float decay(const OptimizerSettings& /*s*/, double /*rate*/) { return 0.0F; }
  static Scalars scalars(const OptimizerSettings& s, double /*rate*/, int64_t /*step*/) {
    return {static_cast<float>(1.0 - s.momentum),
            s.nesterov ? static_cast<float>(s.momentum) : 1.0F};
  }

  SFT_ELEMENT static void element(const Scalars& u, float /*decay*/, float& g, float& /*w*/,
                                  float* state) {
    float& momentum = state[0];
    momentum = momentum + (g - momentum) * u.one_minus_momentum;
    g = g + (momentum - g) * u.share;
  }
};

}  // namespace sft
