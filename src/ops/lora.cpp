#include "ops/lora.h"

#include "ops/kernels.h"

namespace sft {

bool adapters_run_aside(const Program& p) { return p.memory().recompute < Recompute::mlp; }

void emit_lora_up(Program& p, Value low, const Lora& lora, Output y) {
  p.emit("lora_up", {low, lora.b}, {y}, [pieces = lora.pieces](const Run& r) {
    kernels(r).lora_up(r.device(), r.in(0), r.in(1), pieces, r.out(0), r.accumulate(0));
  });
}

Value emit_lora_up_backward(Program& b, Value grad_y, Value low, const Lora& lora) {
  if (b.needs_grad(lora.b)) {
    b.emit("lora_up.backward.weight", {grad_y, low}, {b.grad_out(lora.b)},
           [pieces = lora.pieces](const Run& r) {
             kernels(r).lora_up_backward_weight(r.device(), r.in(0), r.in(1), pieces, r.out(0),
                                                r.accumulate(0));
           });
    if (adapters_run_aside(b)) {
      b.run_aside();
    }
  }
  if (!b.needs_grad(low)) {
    return {};
  }
  const Value grad_low = b.like(low, "lora_up.grad");
  b.emit("lora_up.backward.input", {grad_y, lora.b}, {grad_low},
         [pieces = lora.pieces](const Run& r) {
           kernels(r).lora_up_backward_input(r.device(), r.in(0), r.in(1), pieces, r.out(0));
         });
  return grad_low;
}

}  // namespace sft
