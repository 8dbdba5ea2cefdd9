// Adagrad, as torch.optim.Adagrad: weight decay is added to the gradient. Duchi, Hazan and Singer,
// "Adaptive subgradient methods for online learning and stochastic optimization" (2011).
#pragma once

#include "optim/rule.h"

namespace sft {

struct AdagradRule {
  static constexpr std::array<StateSlot, 1> kSlots{{{"sum", false}}};
  static constexpr bool kHasBlocks = false;
  static constexpr bool kWritesGradient = false;
  static constexpr float kNoDecay = 0.0F;

  struct Scalars {
    float rate, epsilon;
  };

  static bool uses(const OptimizerSettings& /*s*/, int /*slot*/) { return true; }
  static float decay(const OptimizerSettings& s, double /*rate*/) {
    return static_cast<float>(s.weight_decay);
  }
  static Scalars scalars(const OptimizerSettings& s, double rate, int64_t step) {
    return {static_cast<float>(rate / (1.0 + static_cast<double>(step - 1) * s.lr_decay)),
            static_cast<float>(s.epsilon)};
  }

  SFT_ELEMENT static void element(const Scalars& u, float decay, float& g, float& w, float* state) {
    g = g + w * decay;
    float& sum = state[0];
    sum = sum + g * g;
    w = w - u.rate * g / (sqrtf(sum) + u.epsilon);
  }
};

}  // namespace sft
