#include "ops/gated_mlp.h"

#include <algorithm>

#include "ops/fp8_linear.h"
#include "ops/int8_linear.h"
#include "ops/kernels.h"
#include "ops/tiled_mlp.h"

namespace sft {

namespace {

// Whether a layer's product is one that the kernels can join to the activation.
bool joins(const Program& p, const Linear& layer) {
  const bool usual = layer.lora.empty() || (layer.lora[0].a && !layer.lora[0].magnitude);
  return !layer.bias && layer.lora.size() <= 1 && usual && !is_fp8(p, layer.weight) &&
         !is_int8(p, layer.weight);
}

// An adapter's middle, or its gradient, and the matrix that it is multiplied with.
struct Low {
  Value middle, matrix;
};

Low emit_low(Program& p, Value x, const Linear& layer) {
  return layer.lora.empty() ? Low{} : Low{emit_lora_down(p, x, layer.lora[0]), layer.lora[0].b};
}

}  // namespace

Value gated_mlp(Program& p, Value x, const Linear& gate_up_layer, const Linear& down,
                Activation activation) {
  if (p.training() && p.memory().mlp_tile > 0) {
    return tiled_mlp(p, x, gate_up_layer, down, activation, p.memory().mlp_tile);
  }
  const bool drops = !down.lora.empty() && down.lora[0].dropout.rate > 0.0F;
  if (!joins(p, gate_up_layer) || !joins(p, down) || drops) {
    const size_t first = p.instructions().size();
    const Value gate_up = linear(p, x, gate_up_layer);
    p.recompute_from(Recompute::mlp, first);
    return linear(p, gated_activation(p, gate_up, activation), down);
  }
  const Value weight = gate_up_layer.weight;
  const int64_t tokens = p.shape(x)[0];
  const int64_t wide = p.shape(weight)[0];
  const Low low = emit_low(p, x, gate_up_layer);
  const std::vector<LoraPiece> pieces =
      low.middle ? gate_up_layer.lora[0].pieces : std::vector<LoraPiece>();
  const Value gate_up = p.activation("gate_up", {tokens, wide});
  const Value y = p.activation("gated_activation", {tokens, wide / 2});
  p.emit("gated_mlp", {x, usable_weight(p, weight), low.middle, low.matrix}, {gate_up, y},
         [activation, pieces](const Run& r) {
           kernels(r).gated_mlp_forward(r.device(), r.in(0), r.in(1), r.in(2), r.in(3), pieces,
                                        activation, r.out(0), r.out(1));
         });
  p.recompute_from(Recompute::mlp);
  p.recompute_by("gated_activation", {gate_up}, {y}, [activation](const Run& r) {
    kernels(r).gated_activation_forward(r.device(), r.in(0), activation, r.out(0));
  });
  const Value out = p.activation("linear", {tokens, p.shape(down.weight)[0]});
  const Low down_low = emit_low(p, y, down);
  if (down_low.middle && begins_with_adapter(p, down)) {
    emit_lora_up(p, down_low.middle, down.lora[0], out);
    emit_product(p, y, down.weight, {}, 1.0F, {out, Output::Mode::add});
  } else {
    emit_product(p, y, down.weight, {}, 1.0F, out);
    if (down_low.middle) {
      emit_lora_up(p, down_low.middle, down.lora[0], {out, Output::Mode::add});
    }
  }
  p.on_backward([=](Program& b) {
    const Value grad = b.grad(out);
    if (!grad) {
      return;
    }
    Low grad_low;
    if (down_low.middle) {
      grad_low = {emit_lora_up_backward(b, grad, down_low.middle, down.lora[0]), down.lora[0].a};
      if (grad_low.middle) {
        emit_linear_backward(b, grad_low.middle, y, grad_low.matrix, 1.0F, {},
                             adapters_run_aside(b));
      }
    }
    emit_linear_backward(b, grad, y, down.weight, 1.0F, {});
    if (!b.needs_grad(gate_up)) {
      return;
    }
    const Value grad_gate_up = b.like(gate_up, "gate_up.grad");
    constexpr int64_t kRows = 2048;  // enough for products at full speed
    const Value workspace =
        b.activation("gated_mlp.workspace", {std::min(tokens, kRows), wide / 2});
    b.emit(
        "gated_mlp.backward",
        {gate_up, grad, usable_weight(b, down.weight), grad_low.middle, grad_low.matrix},
        {grad_gate_up, workspace},
        [activation](const Run& r) {
          kernels(r).gated_mlp_backward(r.device(), r.in(1), r.in(2), r.in(3), r.in(4), r.in(0),
                                        activation, r.out(0), r.out(1));
        },
        0);
    if (low.middle) {
      const Value grad_middle =
          emit_lora_up_backward(b, grad_gate_up, low.middle, gate_up_layer.lora[0]);
      if (grad_middle) {
        emit_lora_down_backward(b, grad_middle, x, gate_up_layer.lora[0]);
      }
    }
    emit_linear_backward(b, grad_gate_up, x, weight, 1.0F, b.grad_out(x));
  });
  return out;
}

}  // namespace sft
