#include "ops/clamped_glu.h"

#include "ops/kernels.h"

namespace sft {

Value clamped_glu(Program& p, Value gate_up, const ClampedGlu& form) {
  const Shape shape = p.shape(gate_up);
  const Value y = p.activation("clamped_glu", {shape[0], shape[1] / 2});
  p.emit("clamped_glu", {gate_up}, {y}, [form](const Run& r) {
    kernels(r).clamped_glu_forward(r.device(), r.in(0), form, r.out(0));
  });
  p.recompute_from(Recompute::norms);
  p.on_backward([=](Program& b) {
    if (!b.has_grad(y)) {
      return;
    }
    const Value grad = b.like(gate_up, "gate_up.grad");
    b.emit(
        "clamped_glu.backward", {gate_up, b.grad(y)}, {grad},
        [form](const Run& r) {
          kernels(r).clamped_glu_backward(r.device(), r.in(1), r.in(0), form, r.out(0));
        },
        0);
    b.share_grad(gate_up, grad);
  });
  return y;
}

}  // namespace sft
