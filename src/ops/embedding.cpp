#include "ops/embedding.h"

#include "ops/kernels.h"

namespace sft {

Value embedding(Program& p, Value tokens, Value weight, float scale, int64_t padding) {
  const Value y = p.activation("embedding", {p.shape(tokens)[0], p.shape(weight)[1]});
  p.emit("embedding", {tokens, weight}, {y}, [scale](const Run& r) {
    kernels(r).embedding_forward(r.device(), r.in(0), r.in(1), scale, r.out(0));
  });
  p.on_backward([=](Program& b) {
    if (!b.has_grad(y) || !b.needs_grad(weight)) {
      return;
    }
    b.emit("embedding.backward", {b.grad(y), tokens}, {b.grad_out(weight)},
           [scale, padding](const Run& r) {
             kernels(r).embedding_backward(r.device(), r.in(0), r.in(1), scale, padding, r.out(0),
                                           r.accumulate(0));
           });
  });
  return y;
}

}  // namespace sft
