#include "ops/gated_mlp.h"

#include <algorithm>

#include "ops/row_range.h"

namespace sft::cpu {

void gated_mlp_forward(Device& device, const Tensor& x, const Tensor& weight, const Tensor& low,
                       const Tensor& b, const std::vector<LoraPiece>& pieces, Activation activation,
                       Tensor& gate_up, Tensor& y) {
  linear_forward(device, x, weight, {}, 1.0F, gate_up, false);
  if (low.data != nullptr) {
    lora_up(device, low, b, pieces, gate_up, true);
  }
  gated_activation_forward(device, gate_up, activation, y);
}

void gated_mlp_backward(Device& device, const Tensor& grad_y, const Tensor& weight,
                        const Tensor& grad_low, const Tensor& a, const Tensor& gate_up,
                        Activation activation, Tensor& grad_gate_up, Tensor& workspace) {
  const bool adapted = grad_low.data != nullptr;
  const int64_t tokens = grad_y.shape[0];
  const int64_t step = workspace.shape[0];
  for (int64_t first = 0; first < tokens; first += step) {
    const int64_t count = std::min(step, tokens - first);
    Tensor grad = row_range(workspace, 0, count);
    Tensor out = row_range(grad_gate_up, first, count);
    if (adapted) {
      linear_backward_input(device, row_range(grad_low, first, count), a, 1.0F, grad, false);
    }
    linear_backward_input(device, row_range(grad_y, first, count), weight, 1.0F, grad, adapted);
    gated_activation_backward(device, grad, row_range(gate_up, first, count), activation, out);
  }
}

}  // namespace sft::cpu
