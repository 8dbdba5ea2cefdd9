// What an optimizer is made of: its rule, the format of its states and its numbers. Made from the
// options by optim/optimizers.h; read by the rules.
#pragma once

#include <cstdint>

#include "optim/state_format.h"

namespace sft {

// The element-wise rules of optim/rules.h. The last two are the passes before and after a step that
// takes whole tensors.
enum class RuleName : uint8_t { adamw, lion, sgd, rmsprop, adagrad, momentum, direction };

// Steps that take whole tensors (optim/whole.h): Muon those of matrices in the layers, with `rule`
// for what is left, Adafactor all.
enum class WholeStep : uint8_t { none, muon, adafactor };

// How Muon's rate depends on a matrix's shape, as torch.optim.Muon names it.
enum class RateAdjustment : uint8_t { original, match_rms_adamw, spectral_unclamped };

struct OptimizerSettings {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0.0;
  StateFormat format = StateFormat::f32;
  uint64_t seed = 0;  // of stochastic rounding
  RuleName rule = RuleName::adamw;
  double momentum = 0.0, dampening = 0.0;  // SGD; RMSprop and Muon have the first
  bool nesterov = false;                   // SGD, Muon
  double alpha = 0.99;                     // RMSprop's decay of squares
  bool centered = false;                   // RMSprop: variance in place of squares
  double lr_decay = 0.0;                   // Adagrad: of the rate, over steps
  WholeStep whole = WholeStep::none;
  RateAdjustment adjustment = RateAdjustment::original;
  double clip_threshold = 1.0, decay_rate = -0.8;  // Adafactor
  // Weights in float32 hold numbers of bfloat16, but for magnitudes; rounded stochastically.
  bool rounds_weights = false;
};

}  // namespace sft
