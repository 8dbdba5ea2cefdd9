#include "ops/gated_mlp.h"

#include "ops/int8_linear.h"
#include "ops/kernels.h"

namespace sft {

namespace {

bool plain(const Program& p, const Linear& layer) {
  return !layer.bias && layer.lora.empty() && !is_int8(p, layer.weight);
}

}  // namespace

Value gated_mlp(Program& p, Value x, const Linear& gate_up_layer, const Linear& down,
                Activation activation) {
  if (!plain(p, gate_up_layer) || !plain(p, down)) {
    const size_t first = p.instructions().size();
    const Value gate_up = linear(p, x, gate_up_layer);
    p.recompute_from(Recompute::mlp, first);
    return linear(p, gated_activation(p, gate_up, activation), down);
  }
  const Value weight = gate_up_layer.weight;
  const int64_t tokens = p.shape(x)[0];
  const int64_t wide = p.shape(weight)[0];
  const Value gate_up = p.activation("gate_up", {tokens, wide});
  const Value y = p.activation("gated_activation", {tokens, wide / 2});
  p.emit("gated_mlp", {x, usable_weight(p, weight)}, {gate_up, y}, [activation](const Run& r) {
    kernels(r).gated_mlp_forward(r.device(), r.in(0), r.in(1), activation, r.out(0), r.out(1));
  });
  p.recompute_from(Recompute::mlp);
  p.recompute_by("gated_activation", {gate_up}, {y}, [activation](const Run& r) {
    kernels(r).gated_activation_forward(r.device(), r.in(0), activation, r.out(0));
  });
  const Value out = p.activation("linear", {tokens, p.shape(down.weight)[0]});
  p.emit("linear", {y, usable_weight(p, down.weight), {}}, {out}, [](const Run& r) {
    kernels(r).linear_forward(r.device(), r.in(0), r.in(1), r.in(2), 1.0F, r.out(0), false);
  });
  p.on_backward([=](Program& b) {
    const Value grad = b.grad(out);
    if (!grad) {
      return;
    }
    if (b.needs_grad(gate_up)) {
      const Value grad_gate_up = b.like(gate_up, "gate_up.grad");
      const Value workspace = b.like(y, "gated_mlp.workspace");
      b.emit(
          "gated_mlp.backward", {gate_up, grad, usable_weight(b, down.weight)},
          {grad_gate_up, workspace},
          [activation](const Run& r) {
            kernels(r).gated_mlp_backward(r.device(), r.in(1), r.in(2), r.in(0), activation,
                                          r.out(0), r.out(1));
          },
          0);
      emit_linear_backward(b, grad, y, down.weight, 1.0F, {});
      emit_linear_backward(b, grad_gate_up, x, weight, 1.0F, b.grad_out(x));
    } else {
      emit_linear_backward(b, grad, y, down.weight, 1.0F, {});
    }
  });
  return out;
}

}  // namespace sft
