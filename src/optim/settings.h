// What an optimizer is made of: its rule, the format of its states and its numbers. Made from the
// options by optim/optimizers.h; read by the rules.
#pragma once

#include <cstdint>

#include "optim/state_format.h"

namespace sft {

// The element-wise rules, in the order of optim/rules.h.
enum class RuleName : uint8_t { adamw, lion, sgd, rmsprop, adagrad };

struct OptimizerSettings {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0.0;
  StateFormat format = StateFormat::f32;
  uint64_t seed = 0;  // of stochastic rounding
  RuleName rule = RuleName::adamw;
  double momentum = 0.0, dampening = 0.0;  // SGD; RMSprop has the first
  bool nesterov = false;                   // SGD
  double alpha = 0.99;                     // RMSprop's decay of squares
  bool centered = false;                   // RMSprop: variance in place of squares
  double lr_decay = 0.0;                   // Adagrad: of the rate, over steps
};

}  // namespace sft
