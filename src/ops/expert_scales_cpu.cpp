#include <vector>

#include "ops/expert_scales.h"

namespace sft::cpu {

void expert_scales_forward(Device& /*device*/, const Tensor& weights, const Tensor& experts,
                           const Tensor& scales, Tensor& y) {
  for (int64_t i = 0; i < weights.shape.elements(); ++i) {
    y.f32()[i] = weights.f32()[i] * scales.f32()[experts.i32()[i]];
  }
}

void expert_scales_backward(Device& /*device*/, const Tensor& grad, const Tensor& weights,
                            const Tensor& experts, const Tensor& scales, Tensor& grad_weights,
                            Tensor& grad_scales, bool accumulate) {
  std::vector<double> sums(static_cast<size_t>(scales.shape.elements()));
  for (int64_t i = 0; i < weights.shape.elements(); ++i) {
    const int32_t e = experts.i32()[i];
    const float g = grad.f32()[i];
    sums[static_cast<size_t>(e)] += static_cast<double>(g) * static_cast<double>(weights.f32()[i]);
    if (grad_weights.data != nullptr) {
      grad_weights.f32()[i] = g * scales.f32()[e];
    }
  }
  for (size_t e = 0; e < sums.size() && grad_scales.data != nullptr; ++e) {
    float& to = grad_scales.f32()[e];
    to = (accumulate ? to : 0.0F) + static_cast<float>(sums[e]);
  }
}

}  // namespace sft::cpu
