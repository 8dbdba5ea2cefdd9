#include "ops/gated_mlp.h"

namespace sft::cpu {

void gated_mlp_forward(Device& device, const Tensor& x, const Tensor& weight, Activation activation,
                       Tensor& gate_up, Tensor& y) {
  linear_forward(device, x, weight, {}, 1.0F, gate_up, false);
  gated_activation_forward(device, gate_up, activation, y);
}

void gated_mlp_backward(Device& device, const Tensor& grad_y, const Tensor& weight,
                        const Tensor& gate_up, Activation activation, Tensor& grad_gate_up,
                        Tensor& workspace) {
  linear_backward_input(device, grad_y, weight, 1.0F, workspace, false);
  gated_activation_backward(device, workspace, gate_up, activation, grad_gate_up);
}

}  // namespace sft::cpu
