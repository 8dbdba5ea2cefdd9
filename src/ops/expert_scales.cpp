#include "ops/expert_scales.h"

#include "core/error.h"
#include "ops/kernels.h"

namespace sft {

Routed scale_experts(Program& p, const Routed& routed, Value scales) {
  SFT_ASSERT(p.shape(scales).rank() == 1);
  const Value weights = routed.weights;
  const Value experts = routed.experts;
  const Value y = p.make("router.scaled", p.shape(weights));
  p.emit("router.scales", {weights, experts, scales}, {y}, [](const Run& r) {
    kernels(r).expert_scales_forward(r.device(), r.in(0), r.in(1), r.in(2), r.out(0));
  });
  p.recompute_from(Recompute::mlp);
  p.on_backward([=](Program& b) {
    if (!b.has_grad(y)) {
      return;
    }
    const Value grad = b.needs_grad(weights) ? b.like(weights, "router.scales.grad") : Value{};
    b.emit("router.scales.backward", {b.grad(y), weights, experts, scales},
           {grad, b.grad_out(scales)}, [](const Run& r) {
             kernels(r).expert_scales_backward(r.device(), r.in(0), r.in(1), r.in(2), r.in(3),
                                               r.out(0), r.out(1), r.accumulate(1));
           });
    if (grad) {
      b.share_grad(weights, grad);
    }
  });
  return {y, experts};
}

}  // namespace sft
