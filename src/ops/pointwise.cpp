#include "ops/pointwise.h"

namespace sft {

Value pointwise(Program& p, Value x, const Shape& shape, const Pointwise& op) {
  const Value y = p.activation(op.name, shape);
  p.emit(op.name, {x}, {y}, [f = op.forward](const Run& r) { f(r, r.in(0), r.out(0)); });
  p.recompute_from(Recompute::norms);
  p.on_backward([=](Program& b) {
    if (!b.has_grad(y)) {
      return;
    }
    const Value grad = b.like(x, op.name + ".grad");
    b.emit(
        op.name + ".backward", {x, b.grad(y)}, {grad},
        [f = op.backward](const Run& r) { f(r, r.in(1), r.in(0), r.out(0)); }, 0);
    b.share_grad(x, grad);
  });
  return y;
}

}  // namespace sft
