#include "ops/plain_activation.h"

#include "ops/kernels.h"
#include "ops/pointwise.h"

namespace sft {

Value plain_activation(Program& p, Value x, Activation activation) {
  return pointwise(
      p, x, p.shape(x),
      {"activation",
       [activation](const Run& r, const Tensor& in, Tensor& y) {
         kernels(r).plain_activation_forward(r.device(), in, activation, y);
       },
       [activation](const Run& r, const Tensor& grad_y, const Tensor& in, Tensor& grad) {
         kernels(r).plain_activation_backward(r.device(), grad_y, in, activation, grad);
       }});
}

}  // namespace sft
