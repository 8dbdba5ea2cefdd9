// The activations in float64, by their definitions.
#pragma once

#include <cmath>
#include <numbers>

#include "ops/gated_activation.h"

namespace sft::testing {

inline double activate(double x, Activation kind) {
  if (kind == Activation::silu) {
    return x / (1.0 + std::exp(-x));
  }
  const double inner = std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x);
  return 0.5 * x * (1.0 + std::tanh(inner));
}

}  // namespace sft::testing
