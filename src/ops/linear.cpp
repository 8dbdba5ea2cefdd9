#include "ops/linear.h"

#include "core/error.h"
#include "ops/dora.h"
#include "ops/fp8_linear.h"
#include "ops/int8_linear.h"
#include "ops/kernels.h"

namespace sft {

// A widened copy lives as long as it is read. Parts lie in it one behind the other.
Value usable_weight(Program& p, Value weight) {
  const std::vector<Value> parts = p.parts(weight);
  if (parts.front() == weight && p.info(weight).dtype == p.target().compute) {
    return weight;
  }
  const Value wide = p.activation("linear.widened", p.shape(weight));
  p.emit("widen", parts, {wide}, [count = static_cast<int>(parts.size())](const Run& r) {
    auto* to = r.out(0).as<std::byte>();
    for (int i = 0; i < count; ++i) {
      Tensor rows{to, r.in(i).shape, r.out(0).dtype};
      kernels(r).widen(r.device(), r.in(i), rows);
      to += rows.bytes();
    }
  });
  p.recompute_from(Recompute::norms);  // rather than be kept for what is computed again
  return wide;
}

void emit_product(Program& p, Value x, Value weight, Value bias, float alpha, Output y) {
  p.emit("linear", {x, usable_weight(p, weight), bias}, {y}, [alpha](const Run& r) {
    kernels(r).linear_forward(r.device(), r.in(0), r.in(1), r.in(2), alpha, r.out(0),
                              r.accumulate(0));
  });
}

void emit_linear_backward(Program& b, Value grad_y, Value x, Value weight, float alpha,
                          Output grad_x, bool aside) {
  if (grad_x.value) {
    b.emit("linear.backward.input", {grad_y, usable_weight(b, weight)}, {grad_x},
           [alpha](const Run& r) {
             kernels(r).linear_backward_input(r.device(), r.in(0), r.in(1), alpha, r.out(0),
                                              r.accumulate(0));
           });
  }
  if (b.needs_grad(weight)) {
    b.emit("linear.backward.weight", {grad_y, x}, {b.grad_out(weight)}, [alpha](const Run& r) {
      kernels(r).linear_backward_weight(r.device(), r.in(0), r.in(1), alpha, r.out(0),
                                        r.accumulate(0));
    });
    if (aside) {
      b.run_aside();
    }
  }
}

void emit_linear_backward_bias(Program& b, Value grad_y, Value bias,
                               const std::vector<ElementRange>& fixed) {
  b.emit("linear.backward.bias", {grad_y}, {b.grad_out(bias)}, [fixed](const Run& r) {
    kernels(r).linear_backward_bias(r.device(), r.in(0), r.out(0), r.accumulate(0));
    for (const ElementRange& rows : fixed) {
      r.device().zero(r.out(0).f32() + rows.begin,
                      static_cast<size_t>(rows.size()) * sizeof(float));
    }
  });
  b.run_aside();
}

Value dropped(Program& p, Value x, const Dropout& dropout) {
  if (dropout.rate == 0.0F) {
    return x;
  }
  const Value y = p.like(x, "linear.dropped");
  emit_dropout(p, x, dropout, y);
  return y;
}

Value emit_lora_down(Program& p, Value x, const Lora& lora) {
  if (!lora.a) {
    return x;
  }
  const Value low = p.activation("linear.lora", {p.shape(x)[0], p.shape(lora.a)[0]});
  emit_product(p, dropped(p, x, lora.dropout), lora.a, {}, 1.0F, low);
  return low;
}

// What is dropped is drawn again, instead of being kept.
void emit_lora_down_backward(Program& b, Value grad_low, Value x, const Lora& lora) {
  if (!lora.a) {
    b.emit("add", {grad_low}, {b.grad_out(x)},
           [](const Run& r) { r.device().add(r.in(0), r.out(0), r.accumulate(0)); });
    return;
  }
  if (lora.dropout.rate == 0.0F) {
    emit_linear_backward(b, grad_low, x, lora.a, 1.0F, b.grad_out(x), adapters_run_aside(b));
    return;
  }
  Output grad_dropped;
  const Output grad_x = b.grad_out(x);
  if (grad_x.value) {
    grad_dropped = b.like(x, "linear.dropped.grad");
  }
  emit_linear_backward(b, grad_low, dropped(b, x, lora.dropout), lora.a, 1.0F, grad_dropped,
                       adapters_run_aside(b));
  if (grad_x.value) {
    emit_dropout(b, grad_dropped.value, lora.dropout, grad_x);
  }
}

bool begins_with_adapter(const Program& p, const Linear& layer) {
  const bool codes =
      is_fp8(p, layer.weight) ? multiplies_codes(p, layer.weight) : !is_int8(p, layer.weight);
  if (p.target().device != DeviceKind::cuda || layer.lora.size() != 1 || !codes) {
    return false;
  }
  int64_t rows = 0;
  for (const LoraPiece& piece : layer.lora[0].pieces) {
    rows += piece.rows;
  }
  return rows == p.shape(layer.weight)[0];
}

Value linear(Program& p, Value x, const Linear& layer) {
  SFT_ASSERT(p.shape(layer.weight)[1] == p.shape(x)[1]);
  if (is_decomposed(layer)) {
    return decomposed_linear(p, x, layer);
  }
  const Value y = p.activation("linear", {p.shape(x)[0], p.shape(layer.weight)[0]});
  const bool first = begins_with_adapter(p, layer);
  std::vector<Value> low;
  const auto emit_adapters = [&] {
    for (const Lora& lora : layer.lora) {
      low.push_back(emit_lora_down(p, x, lora));
      emit_lora_up(p, low.back(), lora, {y, first ? Output::Mode::overwrite : Output::Mode::add});
    }
  };
  if (first) {
    emit_adapters();
  }
  const Output product{y, first ? Output::Mode::add : Output::Mode::overwrite};
  if (is_int8(p, layer.weight)) {
    emit_int8_linear(p, x, layer, y);
  } else if (is_fp8(p, layer.weight)) {
    emit_fp8_product(p, x, layer.weight, layer.bias, product);
  } else {
    emit_product(p, x, layer.weight, layer.bias, 1.0F, product);
  }
  if (!first) {
    emit_adapters();
  }
  p.on_backward([=](Program& b) {
    const Value grad_y = b.grad(y);
    if (!grad_y) {
      return;
    }
    for (size_t i = 0; i < layer.lora.size(); ++i) {
      if (const Value grad_low = emit_lora_up_backward(b, grad_y, low[i], layer.lora[i])) {
        emit_lora_down_backward(b, grad_low, x, layer.lora[i]);
      }
    }
    if (is_fp8(b, layer.weight)) {
      emit_fp8_backward(b, grad_y, layer.weight, b.grad_out(x));
    } else {
      emit_linear_backward(b, grad_y, x, layer.weight, 1.0F, b.grad_out(x));
    }
    if (layer.bias && b.needs_grad(layer.bias)) {
      emit_linear_backward_bias(b, grad_y, layer.bias, layer.fixed_bias);
    }
  });
  return y;
}

}  // namespace sft
