#include "ops/gated_activation.h"

#include "ops/kernels.h"

namespace sft {

Value gated_activation(Program& p, Value gate_up, Activation activation) {
  const Shape shape = p.shape(gate_up);
  const Value y = p.activation("gated_activation", {shape[0], shape[1] / 2});
  p.emit("gated_activation", {gate_up}, {y}, [activation](const Run& r) {
    kernels(r).gated_activation_forward(r.device(), r.in(0), activation, r.out(0));
  });
  p.recompute_from(Recompute::norms);
  p.on_backward([=](Program& b) {
    if (!b.has_grad(y)) {
      return;
    }
    const Value grad = b.like(gate_up, "gate_up.grad");
    b.emit(
        "gated_activation.backward", {gate_up, b.grad(y)}, {grad},
        [activation](const Run& r) {
          kernels(r).gated_activation_backward(r.device(), r.in(1), r.in(0), activation, r.out(0));
        },
        0);
    b.share_grad(gate_up, grad);
  });
  return y;
}

}  // namespace sft
