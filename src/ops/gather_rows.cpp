#include "ops/gather_rows.h"

#include "ops/kernels.h"

namespace sft {

Value gather_rows(Program& p, Value x, Value rows) {
  const Value y = p.activation("gather_rows", {p.shape(rows)[0], p.shape(x)[1]});
  p.emit("gather_rows", {x, rows}, {y}, [](const Run& r) {
    kernels(r).gather_rows_forward(r.device(), r.in(0), r.in(1), r.out(0));
  });
  p.recompute_from(Recompute::norms);
  p.on_backward([=](Program& b) {
    if (!b.has_grad(y) || !b.needs_grad(x)) {
      return;
    }
    b.emit("gather_rows.backward", {b.grad(y), rows}, {b.grad_out(x)}, [](const Run& r) {
      kernels(r).gather_rows_backward(r.device(), r.in(0), r.in(1), r.out(0), r.accumulate(0));
    });
  });
  return y;
}

}  // namespace sft
