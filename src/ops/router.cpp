#include "ops/router.h"

#include "core/error.h"
#include "ops/kernels.h"

namespace sft {

Routed route(Program& p, Value logits, Value correction, const Routing& routing,
             const Balance& balance) {
  const int64_t tokens = p.shape(logits)[0];
  SFT_ASSERT(p.shape(logits)[1] == routing.experts && routing.chosen <= routing.experts);
  const Shape shape{tokens, routing.chosen};
  const Routed routed{p.make("router.weights", shape), p.make("router.experts", shape, DType::i32)};
  p.emit("router", {logits, correction}, {routed.weights, routed.experts}, [routing](const Run& r) {
    kernels(r).route_forward(r.device(), r.in(0), r.in(1), routing, r.out(0), r.out(1));
  });
  p.recompute_from(Recompute::mlp);
  p.on_backward([=](Program& b) {
    const Value grad_weights = b.grad(routed.weights);
    if (!b.needs_grad(logits) || (!grad_weights && !balance)) {
      return;
    }
    const Value grad = b.like(logits, "router.grad");
    b.emit("router.backward",
           {grad_weights, logits, routed.experts, balance.gradient, balance.documents}, {grad},
           [routing](const Run& r) {
             kernels(r).route_backward(r.device(), r.in(0), r.in(1), r.in(2), r.in(3), r.in(4),
                                       routing, r.out(0));
           });
    b.share_grad(logits, grad);
  });
  return routed;
}

Value expert_load(Program& p, Value logits, Value experts, Value documents, Value before) {
  const Value load = p.make("router.load", {2, p.shape(logits)[1]});
  p.emit("router.load", {logits, experts, documents, before}, {load}, [](const Run& r) {
    kernels(r).expert_load(r.device(), r.in(0), r.in(1), r.in(2), r.in(3), r.out(0));
  });
  return load;
}

void emit_balance_loss(Program& p, Value load, int layers, Value scale, const Balance& balance,
                       Value loss) {
  p.emit("router.loss", {load, balance.documents, scale}, {loss, balance.gradient},
         [layers](const Run& r) {
           kernels(r).balance_loss(r.device(), r.in(0), r.in(1), layers, r.in(2), r.out(0),
                                   r.out(1));
         });
}

}  // namespace sft
