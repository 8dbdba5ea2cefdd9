// RMSprop with momentum and centring, as torch.optim.RMSprop: weight decay is added to the
// gradient. Hinton's lecture 6e (2012); centred: Graves, "Generating sequences with recurrent
// neural networks" (2013).
#pragma once

#include "optim/rule.h"

namespace sft {

struct RmspropRule {
  static constexpr std::array<StateSlot, 3> kSlots{
      {{"square_avg", false}, {"momentum_buffer", true}, {"grad_avg", true}}};
  static constexpr bool kHasBlocks = false;
  static constexpr bool kWritesGradient = false;
  static constexpr float kNoDecay = 0.0F;

  struct Scalars {
    float alpha, one_minus_alpha, epsilon, momentum, rate;
    float mean_weight;  // 1 where the mean's square is taken off, else 0
  };

  static bool uses(const OptimizerSettings& s, int slot) {
    return slot == 0 || (slot == 1 ? s.momentum > 0.0 : s.centered);
  }
  static float decay(const OptimizerSettings& s, double /*rate*/) {
    return static_cast<float>(s.weight_decay);
  }
  static Scalars scalars(const OptimizerSettings& s, double rate, int64_t /*step*/) {
    return {static_cast<float>(s.alpha),   static_cast<float>(1.0 - s.alpha),
            static_cast<float>(s.epsilon), static_cast<float>(s.momentum),
            static_cast<float>(rate),      s.centered ? 1.0F : 0.0F};
  }

  SFT_ELEMENT static void element(const Scalars& u, float decay, float& g, float& w, float* state) {
    g = g + w * decay;
    float& square = state[0];
    float& momentum = state[1];
    float& mean = state[2];
    square = square * u.alpha + g * g * u.one_minus_alpha;
    mean = mean + (g - mean) * u.one_minus_alpha;
    const float variance = square - u.mean_weight * mean * mean;
    // Without momentum this is the update itself.
    momentum = momentum * u.momentum + g / (sqrtf(variance) + u.epsilon);
    w = w - u.rate * momentum;
  }
};

}  // namespace sft
