#include "ops/layer_norm.h"

#include "core/error.h"
#include "ops/kernels.h"

namespace sft {

Value layer_norm(Program& p, Value x, Value weight, Value bias, float eps) {
  SFT_ASSERT(p.shape(weight)[0] == p.shape(x)[1]);
  const Value y = p.like(x, "layer_norm");
  const Value moments = p.make("layer_norm.moments", {p.shape(x)[0], 2});
  p.emit("layer_norm", {x, weight, bias}, {y, moments}, [eps](const Run& r) {
    kernels(r).layer_norm_forward(r.device(), r.in(0), r.in(1), r.in(2), eps, r.out(0), r.out(1));
  });
  p.recompute_from(Recompute::norms);
  p.on_backward([=](Program& b) {
    if (!b.has_grad(y)) {
      return;
    }
    const Value so_far = b.grad(x);
    const Value grad_x = b.like(x, "layer_norm.grad");
    b.emit(
        "layer_norm.backward", {so_far, b.grad(y), x, weight, moments},
        {grad_x, b.grad_out(weight), b.grad_out(bias)},
        [](const Run& r) {
          kernels(r).layer_norm_backward(r.device(), r.in(1), r.in(2), r.in(3), r.in(4), r.in(0),
                                         r.out(0), r.out(1), r.accumulate(1), r.out(2),
                                         r.accumulate(2));
        },
        0);
    b.replace_grad(x, grad_x);
  });
  return y;
}

}  // namespace sft
