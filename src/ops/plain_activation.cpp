#include "ops/plain_activation.h"

#include "ops/kernels.h"

namespace sft {

Value plain_activation(Program& p, Value x, Activation activation) {
  const Value y = p.like(x, "activation");
  p.emit("activation", {x}, {y}, [activation](const Run& r) {
    kernels(r).plain_activation_forward(r.device(), r.in(0), activation, r.out(0));
  });
  p.recompute_from(Recompute::norms);
  p.on_backward([=](Program& b) {
    if (!b.has_grad(y)) {
      return;
    }
    const Value grad = b.like(x, "activation.grad");
    b.emit(
        "activation.backward", {x, b.grad(y)}, {grad},
        [activation](const Run& r) {
          kernels(r).plain_activation_backward(r.device(), r.in(1), r.in(0), activation, r.out(0));
        },
        0);
    b.share_grad(x, grad);
  });
  return y;
}

}  // namespace sft
