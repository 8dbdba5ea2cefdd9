// Stochastic gradient descent with momentum and Nesterov's variant, as torch.optim.SGD: weight
// decay is added to the gradient, and the first gradient is the first momentum.
#pragma once

#include "optim/rule.h"

namespace sft {

struct SgdRule {
  static constexpr std::array<StateSlot, 1> kSlots{{{"momentum_buffer", true}}};
  static constexpr bool kHasBlocks = false;
  static constexpr bool kWritesGradient = false;
  static constexpr float kNoDecay = 0.0F;

  struct Scalars {
    float momentum, one_minus_dampening, rate;
    float gradient_share, momentum_share;  // of the direction
  };

  static bool uses(const OptimizerSettings& s, int /*slot*/) { return s.momentum != 0.0; }
  static float decay(const OptimizerSettings& s, double /*rate*/) {
    return static_cast<float>(s.weight_decay);
  }
  static Scalars scalars(const OptimizerSettings& s, double rate, int64_t step) {
    const bool moves = s.momentum != 0.0;
    const bool whole = moves && !s.nesterov;
    return {static_cast<float>(s.momentum),
            step == 1 ? 1.0F : static_cast<float>(1.0 - s.dampening), static_cast<float>(rate),
            whole ? 0.0F : 1.0F,
            whole   ? 1.0F
            : moves ? static_cast<float>(s.momentum)
                    : 0.0F};
  }

  SFT_ELEMENT static void element(const Scalars& u, float decay, float& g, float& w, float* state) {
    g = g + w * decay;
    float& momentum = state[0];
    momentum = momentum * u.momentum + g * u.one_minus_dampening;
    w = w - u.rate * (g * u.gradient_share + momentum * u.momentum_share);
  }
};

}  // namespace sft
