// AdamW. Loshchilov and Hutter, "Decoupled weight decay regularization" (2019), with
// torch.optim.AdamW's order of operations.
#pragma once

#include "optim/rule.h"

namespace sft {

struct AdamWRule {
  static constexpr std::array<StateSlot, 2> kSlots{{{"exp_avg", true}, {"exp_avg_sq", false}}};
  static constexpr bool kHasBlocks = true;
  static constexpr bool kWritesGradient = false;
  static constexpr float kNoDecay = 1.0F;

  struct Scalars {
    float one_minus_beta1, beta2, one_minus_beta2;  // 1 - beta2 in float would be off by 1e-5
    float step_size;                                // rate / (1 - beta1^t)
    float correction;                               // 1 / sqrt(1 - beta2^t)
    float epsilon;
  };

  static bool uses(const OptimizerSettings& /*s*/, int /*slot*/) { return true; }
  static float decay(const OptimizerSettings& s, double rate) {
    return static_cast<float>(1.0 - rate * s.weight_decay);
  }
  static Scalars scalars(const OptimizerSettings& s, double rate, int64_t step) {
    const auto n = static_cast<double>(step);
    return {static_cast<float>(1.0 - s.beta1),
            static_cast<float>(s.beta2),
            static_cast<float>(1.0 - s.beta2),
            static_cast<float>(rate / (1.0 - std::pow(s.beta1, n))),
            static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(s.beta2, n))),
            static_cast<float>(s.epsilon)};
  }

  SFT_ELEMENT static void element(const Scalars& u, float decay, float& g, float& w, float* state) {
    float& m = state[0];
    float& v = state[1];
    m = m + (g - m) * u.one_minus_beta1;
    v = v * u.beta2 + g * g * u.one_minus_beta2;
    w = w * decay - u.step_size * m / (sqrtf(v) * u.correction + u.epsilon);
  }
};

}  // namespace sft
