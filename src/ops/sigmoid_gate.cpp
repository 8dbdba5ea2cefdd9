#include "ops/sigmoid_gate.h"

#include "core/error.h"
#include "ops/kernels.h"

namespace sft {

Value sigmoid_gate(Program& p, Value x, Value gate) {
  SFT_ASSERT(p.shape(x)[0] == p.shape(gate)[0] && p.shape(x)[1] % p.shape(gate)[1] == 0);
  const Value y = p.like(x, "sigmoid_gate");
  p.emit("sigmoid_gate", {x, gate}, {y}, [](const Run& r) {
    kernels(r).sigmoid_gate_forward(r.device(), r.in(0), r.in(1), r.out(0));
  });
  p.recompute_from(Recompute::norms);
  p.on_backward([=](Program& b) {
    if (!b.has_grad(y)) {
      return;
    }
    const Value grad_x = b.like(x, "sigmoid_gate.grad");
    const Value grad_gate = b.like(gate, "sigmoid_gate.grad_gate");
    b.emit("sigmoid_gate.backward", {b.grad(y), x, gate}, {grad_x, grad_gate}, [](const Run& r) {
      kernels(r).sigmoid_gate_backward(r.device(), r.in(0), r.in(1), r.in(2), r.out(0), r.out(1));
    });
    b.share_grad(x, grad_x);
    b.share_grad(gate, grad_gate);
  });
  return y;
}

}  // namespace sft
