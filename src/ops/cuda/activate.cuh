// The gated MLP's activation, in one place: the fused product and the kernel of its own must give
// the same bits, because recomputation takes the one for the other.
#pragma once

#include <cuda_runtime.h>

#include "ops/gated_activation.h"

namespace sft {

// Two functions of the special function unit, without the scaling that makes them right for
// denormals.
__device__ inline float power_of_two(float x) {
  float y = 0.0F;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ inline float reciprocal(float x) {
  float y = 0.0F;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// act(x) and its derivative. tanh(z) = 2 sigmoid(2z) - 1, so that gelu_tanh is x sigmoid(2z) too.
template <Activation kKind>
__device__ inline float2 activate(float x) {
  constexpr float kTwoSqrt2OverPi = 1.5957691216F;
  constexpr float kCubic = 0.044715F;
  constexpr bool kSilu = kKind == Activation::silu;
  const float z = kSilu ? x : kTwoSqrt2OverPi * (x + kCubic * x * x * x);
  const float slope = kSilu ? 1.0F : kTwoSqrt2OverPi * (1.0F + 3.0F * kCubic * x * x);
  const float s = reciprocal(1.0F + power_of_two(-1.4426950409F * z));
  return {x * s, s * (1.0F + x * slope * (1.0F - s))};
}

}  // namespace sft
