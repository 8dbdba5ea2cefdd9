#include "ops/gated_activation.h"

#include "ops/kernels.h"
#include "ops/pointwise.h"

namespace sft {

Value gated_activation(Program& p, Value gate_up, Activation activation) {
  return pointwise(
      p, gate_up, {p.shape(gate_up)[0], p.shape(gate_up)[1] / 2},
      {"gated_activation",
       [activation](const Run& r, const Tensor& in, Tensor& y) {
         kernels(r).gated_activation_forward(r.device(), in, activation, y);
       },
       [activation](const Run& r, const Tensor& grad_y, const Tensor& in, Tensor& grad) {
         kernels(r).gated_activation_backward(r.device(), grad_y, in, activation, grad);
       }});
}

}  // namespace sft
