#include "ops/experts.h"

#include "core/error.h"
#include "ops/kernels.h"

namespace sft {

namespace {

// (experts, rows, columns) as one matrix, the experts' rows one behind the other.
Tensor as_matrix(const Tensor& t) {
  const int64_t columns = t.shape[t.shape.rank() - 1];
  return {t.data, {t.shape.elements() / columns, columns}, t.dtype};
}

// y (+)= alpha x weight^T + low low_weight^T, or its turned form.
void emit_grouped_product(Program& p, const char* name, Value x, Value weight, Value low,
                          Value low_weight, Value starts, bool turned, float alpha, Output y) {
  p.emit(name, {x, usable_weight(p, weight), low, low_weight, starts}, {y},
         [turned, alpha](const Run& r) {
           kernels(r).grouped_product(r.device(), r.in(0), as_matrix(r.in(1)), r.in(2), r.in(3),
                                      r.in(4), turned, alpha, r.out(0), r.accumulate(0));
         });
}

// The gradient of y = x weight^T by the weight.
void emit_grouped_outer(Program& b, Value grad_y, Value x, Value weight, Value starts, bool turned,
                        bool aside) {
  if (!b.needs_grad(weight)) {
    return;
  }
  b.emit("experts.backward.weight", {turned ? x : grad_y, turned ? grad_y : x, starts},
         {b.grad_out(weight)}, [](const Run& r) {
           Tensor grad = as_matrix(r.out(0));
           kernels(r).grouped_outer(r.device(), r.in(0), r.in(1), r.in(2), grad, r.accumulate(0));
         });
  if (aside && b.info(weight).kind == ValueInfo::Kind::parameter) {
    b.run_aside();
  }
}

// y (+)= x weight^T + low low_weight^T, weight in its turned form where `turned` says so. Matrices
// of an adapter are never published the other way round: beside a weight that is (`mixed`) they are
// a product of their own.
void emit_with_adapter(Program& p, const char* name, Value x, Value weight, Value low,
                       Value low_weight, Value starts, bool turned, bool mixed, Output y) {
  if (!low || !mixed) {
    emit_grouped_product(p, name, x, weight, low, low_weight, starts, turned, 1.0F, y);
    return;
  }
  emit_grouped_product(p, "experts.lora.up", low, low_weight, {}, {}, starts, !turned, 1.0F, y);
  emit_grouped_product(p, name, x, weight, {}, {}, starts, turned, 1.0F,
                       {y.value, Output::Mode::add});
}

// An adapter's b, expert by expert.
Value split_by_expert(Program& p, Value b, int experts) {
  const Shape& shape = p.shape(b);
  const Value y = p.activation("experts.lora_b", {shape[0] * experts, shape[1] / experts});
  p.widen_grad(y);
  p.emit("experts.lora_b", {b}, {y},
         [](const Run& r) { kernels(r).split_by_expert(r.device(), r.in(0), r.out(0)); });
  p.recompute_from(Recompute::norms);
  p.on_backward([=](Program& back) {
    if (back.has_grad(y) && back.needs_grad(b)) {
      back.emit("experts.lora_b.backward", {back.grad(y)}, {back.grad_out(b)}, [](const Run& r) {
        kernels(r).split_by_expert_backward(r.device(), r.in(0), r.out(0), r.accumulate(0));
      });
    }
  });
  return y;
}

}  // namespace

Dispatch dispatch(Program& p, const Routed& routed, int experts) {
  const Shape& shape = p.shape(routed.experts);
  const Dispatch d{p.make("experts.starts", {experts + 1}, DType::i32),
                   p.make("experts.rows", {shape.elements()}, DType::i32),
                   p.make("experts.slots", shape, DType::i32), routed.weights};
  p.emit("experts.sort", {routed.experts}, {d.starts, d.rows, d.slots}, [](const Run& r) {
    kernels(r).sort_by_expert(r.device(), r.in(0), r.out(0), r.out(1), r.out(2));
  });
  p.recompute_from(Recompute::mlp);
  return d;
}

Value to_experts(Program& p, Value x, const Dispatch& d) {
  const Value y = p.activation("experts.in", {p.shape(d.rows)[0], p.shape(x)[1]});
  p.emit("experts.in", {x, d.rows}, {y}, [](const Run& r) {
    kernels(r).gather_rows_forward(r.device(), r.in(0), r.in(1), r.out(0));
  });
  p.recompute_from(Recompute::norms);
  p.on_backward([=](Program& b) {
    if (b.has_grad(y) && b.needs_grad(x)) {
      b.emit("experts.in.backward", {b.grad(y), d.slots}, {b.grad_out(x)}, [](const Run& r) {
        kernels(r).sum_slots(r.device(), r.in(0), r.in(1), {}, r.out(0), r.accumulate(0));
      });
    }
  });
  return y;
}

Value from_experts(Program& p, Value y, const Dispatch& d) {
  const Value out = p.activation("experts.out", {p.shape(d.slots)[0], p.shape(y)[1]});
  p.emit("experts.out", {y, d.slots, d.weights}, {out}, [](const Run& r) {
    kernels(r).sum_slots(r.device(), r.in(0), r.in(1), r.in(2), r.out(0), false);
  });
  p.on_backward([=](Program& b) {
    if (!b.has_grad(out)) {
      return;
    }
    const Value grad_y = b.needs_grad(y) ? b.like(y, "experts.out.grad") : Value{};
    b.emit("experts.out.backward", {b.grad(out), y, d.slots, d.weights},
           {grad_y, b.grad_out(d.weights)}, [](const Run& r) {
             kernels(r).from_experts_backward(r.device(), r.in(0), r.in(1), r.in(2), r.in(3),
                                              r.out(0), r.out(1), r.accumulate(1));
           });
    if (grad_y) {
      b.share_grad(y, grad_y);
    }
  });
  return out;
}

Value grouped_linear(Program& p, Value x, Value starts, const GroupedLinear& grouped, int experts) {
  const Linear& layer = grouped.layer;
  const bool turned = grouped.turned;
  const Shape& weight = p.shape(layer.weight);
  const int64_t rows = p.shape(x)[0];
  const int64_t out = turned ? weight[2] : weight[0] / experts;
  SFT_ASSERT(p.shape(x)[1] == weight[1] && (!turned || weight[0] == experts));
  const Value y = p.activation("experts.linear", {rows, out});
  Lora lora;
  Value low;  // with the adapter's scale
  if (!layer.lora.empty()) {
    SFT_ASSERT(layer.lora.size() == 1 && !layer.lora[0].magnitude);
    lora = layer.lora[0];
    lora.b = split_by_expert(p, lora.b, experts);
    low = p.activation("experts.lora", {rows, p.shape(lora.a)[0] / experts});
    emit_grouped_product(p, "experts.lora", x, lora.a, {}, {}, starts, false, lora.pieces[0].scale,
                         low);
  }
  emit_with_adapter(p, "experts.product", x, layer.weight, low, lora.b, starts, turned, turned, y);
  if (layer.bias) {
    p.emit("experts.bias", {layer.bias, starts}, {{y, Output::Mode::add}},
           [](const Run& r) { kernels(r).grouped_bias(r.device(), r.in(0), r.in(1), r.out(0)); });
  }
  p.on_backward([=](Program& b) {
    const Value grad_y = b.grad(y);
    if (!grad_y) {
      return;
    }
    Value grad_low;
    if (low) {
      grad_low = b.like(low, "experts.lora.grad");
      emit_grouped_product(b, "experts.lora.backward", grad_y, lora.b, {}, {}, starts, true,
                           lora.pieces[0].scale, grad_low);
      emit_grouped_outer(b, grad_y, low, lora.b, starts, false, adapters_run_aside(b));
      emit_grouped_outer(b, grad_low, x, lora.a, starts, false, adapters_run_aside(b));
    }
    if (const Output grad_x = b.grad_out(x); grad_x.value) {
      emit_with_adapter(b, "experts.backward", grad_y, layer.weight, grad_low, lora.a, starts,
                        !turned, turned, grad_x);
    }
    emit_grouped_outer(b, grad_y, x, layer.weight, starts, turned, true);
    if (layer.bias && b.needs_grad(layer.bias)) {
      b.emit("experts.backward.bias", {grad_y, starts}, {b.grad_out(layer.bias)}, [](const Run& r) {
        kernels(r).grouped_bias_backward(r.device(), r.in(0), r.in(1), r.out(0), r.accumulate(0));
      });
      b.run_aside();
    }
  });
  return y;
}

}  // namespace sft
