#include "ops/gated_norm.h"

#include "core/error.h"
#include "ops/kernels.h"

namespace sft {

Value gated_norm(Program& p, Value x, Value gate, Value weight, float eps) {
  const Shape shape = p.shape(x);
  SFT_ASSERT(shape == p.shape(gate) && shape[1] % p.shape(weight)[0] == 0);
  const Value y = p.like(x, "gated_norm");
  const Value rstd = p.make("gated_norm.rstd", {shape[0], shape[1] / p.shape(weight)[0]});
  p.emit("gated_norm", {x, gate, weight}, {y, rstd}, [eps](const Run& r) {
    kernels(r).gated_norm_forward(r.device(), r.in(0), r.in(1), r.in(2), eps, r.out(0), r.out(1));
  });
  p.recompute_from(Recompute::norms);
  p.on_backward([=](Program& b) {
    if (!b.has_grad(y)) {
      return;
    }
    const Value grad_x = b.like(x, "gated_norm.grad");
    const Value grad_gate = b.like(gate, "gated_norm.grad_gate");
    b.emit("gated_norm.backward", {b.grad(y), x, gate, weight, rstd},
           {grad_x, grad_gate, b.grad_out(weight)}, [](const Run& r) {
             kernels(r).gated_norm_backward(r.device(), r.in(0), r.in(1), r.in(2), r.in(3), r.in(4),
                                            r.out(0), r.out(1), r.out(2), r.accumulate(2));
           });
    b.share_grad(x, grad_x);
    b.share_grad(gate, grad_gate);
  });
  return y;
}

}  // namespace sft
