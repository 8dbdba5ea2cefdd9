#include "ops/dora.h"

#include <algorithm>

#include "core/error.h"
#include "ops/fp8_linear.h"
#include "ops/int8_linear.h"
#include "ops/kernels.h"

namespace sft {

namespace {

// What the rows of a layer are multiplied by, and by adapter group the reciprocal of their length.
struct Gains {
  Value gain;                   // (out)
  std::vector<Value> inverses;  // null where a group is not decomposed
};

// What one adapter group makes of the gains; see the kernel.
Value emit_gain(Program& p, Value squares, Value down, const Lora& lora, Output gain) {
  const int64_t ranks = p.shape(lora.a)[0];
  const Value gram = p.make("dora.gram", {ranks, ranks});
  emit_product(p, lora.a, lora.a, {}, 1.0F, gram);
  const Value inverse = p.make("dora.inverse", p.shape(lora.magnitude));
  const bool more = gain.mode == Output::Mode::add;
  p.emit("dora_gain", {squares, down, gram, lora.b, lora.magnitude}, {gain, inverse},
         [pieces = lora.pieces, more](const Run& r) {
           kernels(r).dora_gain(r.device(), r.in(0), r.in(1), r.in(2), r.in(3), r.in(4), pieces,
                                r.out(0), r.out(1), more);
         });
  return inverse;
}

Gains emit_gains(Program& p, Value weight, const std::vector<Lora>& groups) {
  const int64_t out = p.shape(weight)[0];
  const Value squares = p.make("dora.squares", {out});
  p.emit("row_squares", {weight}, {squares},
         [](const Run& r) { kernels(r).row_squares(r.device(), r.in(0), r.out(0)); });
  Gains gains{p.make("dora.gain", {out}), {}};
  bool more = false;
  for (const Lora& lora : groups) {
    if (!lora.magnitude) {
      gains.inverses.emplace_back();
      continue;
    }
    const Value down = p.make("dora.down", {out, p.shape(lora.a)[0]});
    emit_product(p, weight, lora.a, {}, 1.0F, down);
    const auto mode = more ? Output::Mode::add : Output::Mode::overwrite;
    gains.inverses.push_back(emit_gain(p, squares, down, lora, {gains.gain, mode}));
    more = true;
  }
  return gains;
}

void emit_gain_backward(Program& b, Value grad_gain, Value inverse, const Lora& lora) {
  b.emit("dora_gain.backward", {grad_gain, inverse}, {b.grad_out(lora.magnitude)},
         [pieces = lora.pieces](const Run& r) {
           kernels(r).dora_gain_backward(r.device(), r.in(0), r.in(1), pieces, r.out(0),
                                         r.accumulate(0));
         });
  b.run_aside();
}

void emit_bias_backward(Program& b, Value grad_y, const Linear& layer) {
  if (layer.bias && b.needs_grad(layer.bias)) {
    emit_linear_backward_bias(b, grad_y, layer.bias, layer.fixed_bias);
  }
}

// x W^T + b, of which `weight` is W widened.
void emit_base(Program& p, Value x, const Linear& layer, Value weight, Value y) {
  if (is_int8(p, layer.weight)) {
    emit_int8_linear(p, x, layer, y);
  } else if (is_fp8(p, layer.weight)) {
    emit_fp8_product(p, x, layer.weight, layer.bias, y);
  } else {
    emit_product(p, x, weight, layer.bias, 1.0F, y);
  }
}

void emit_base_backward(Program& b, Value grad_y, Value x, const Linear& layer) {
  if (is_fp8(b, layer.weight)) {
    emit_fp8_backward(b, grad_y, layer.weight, b.grad_out(x));
  } else {
    emit_linear_backward(b, grad_y, x, layer.weight, 1.0F, b.grad_out(x));
  }
}

// No input is dropped: the rows of W x + s B A x are scaled together.
Value scaled_linear(Program& p, Value x, const Linear& layer) {
  const Value weight = usable_weight(p, layer.weight);
  const Gains gains = emit_gains(p, weight, layer.lora);
  const Value sum = p.activation("linear.dora", {p.shape(x)[0], p.shape(weight)[0]});
  Linear plain = layer;
  plain.bias = {};
  emit_base(p, x, plain, weight, sum);
  std::vector<Value> low;
  for (const Lora& lora : layer.lora) {
    low.push_back(emit_lora_down(p, x, lora));
    emit_lora_up(p, low.back(), lora, {sum, Output::Mode::add});
  }
  const Value y = p.like(sum, "linear");
  p.emit("scale_columns", {sum, gains.gain, layer.bias}, {y}, [](const Run& r) {
    kernels(r).scale_columns(r.device(), r.in(0), r.in(1), r.in(2), r.out(0));
  });
  p.on_backward([=](Program& b) {
    const Value grad_y = b.grad(y);
    if (!grad_y) {
      return;
    }
    emit_bias_backward(b, grad_y, layer);
    const Value grad_gain = b.like(gains.gain, "dora.gain.grad");
    b.emit("column_dots", {grad_y, sum}, {grad_gain}, [](const Run& r) {
      kernels(r).column_dots(r.device(), r.in(0), r.in(1), {}, 0, r.out(0));
    });
    const Value grad_sum = b.like(sum, "linear.dora.grad");
    b.emit("scale_columns.backward", {grad_y, gains.gain}, {grad_sum}, [](const Run& r) {
      kernels(r).scale_columns(r.device(), r.in(0), r.in(1), {}, r.out(0));
    });
    for (size_t i = 0; i < layer.lora.size(); ++i) {
      const Lora& lora = layer.lora[i];
      if (lora.magnitude && b.needs_grad(lora.magnitude)) {
        emit_gain_backward(b, grad_gain, gains.inverses[i], lora);
      }
      if (const Value grad_low = emit_lora_up_backward(b, grad_sum, low[i], lora)) {
        emit_lora_down_backward(b, grad_low, x, lora);
      }
    }
    emit_base_backward(b, grad_sum, x, layer);
  });
  return y;
}

// Rows [piece.first_row, ...) of a weight, which lie end to end.
Tensor rows_of(const Tensor& weight, const LoraPiece& piece) {
  Tensor rows = weight;
  rows.data = static_cast<std::byte*>(weight.data) +
              static_cast<size_t>(piece.first_row * weight.shape[1]) * size_of(weight.dtype);
  rows.shape = {piece.rows, weight.shape[1]};
  return rows;
}

// What one adapter makes of its own part of the input, beside W x.
struct Mixed {
  Value base, low, update;
};

Mixed emit_mixed(Program& p, Value x, Value weight, Value gain, const Lora& lora, Value y) {
  SFT_ASSERT(lora.pieces.size() == 1);  // each drops other values
  const LoraPiece piece = lora.pieces[0];
  const int64_t tokens = p.shape(x)[0];
  const Value left = dropped(p, x, lora.dropout);
  Mixed mixed;
  mixed.base = p.activation("dora.base", {tokens, piece.rows});
  p.emit("linear.rows", {left, weight}, {mixed.base}, [piece](const Run& r) {
    kernels(r).linear_forward(r.device(), r.in(0), rows_of(r.in(1), piece), {}, 1.0F, r.out(0),
                              false);
  });
  mixed.low = p.activation("linear.lora", {tokens, p.shape(lora.a)[0]});
  emit_product(p, left, lora.a, {}, 1.0F, mixed.low);
  mixed.update = p.like(mixed.base, "dora.update");
  emit_product(p, mixed.low, lora.b, {}, piece.scale, mixed.update);
  p.emit("dora_mix", {mixed.base, mixed.update, gain}, {{y, Output::Mode::add}},
         [first = piece.first_row](const Run& r) {
           kernels(r).dora_mix(r.device(), r.in(0), r.in(1), r.in(2), first, r.out(0));
         });
  return mixed;
}

void emit_mixed_backward(Program& b, Value grad_y, Value x, Value weight, const Gains& gains,
                         Value inverse, const Mixed& mixed, const Lora& lora) {
  const LoraPiece piece = lora.pieces[0];
  if (b.needs_grad(lora.magnitude)) {
    const Value grad_gain = b.like(gains.gain, "dora.gain.grad");
    b.emit("column_dots", {grad_y, mixed.base, mixed.update}, {grad_gain},
           [first = piece.first_row](const Run& r) {
             kernels(r).column_dots(r.device(), r.in(0), r.in(1), r.in(2), first, r.out(0));
           });
    emit_gain_backward(b, grad_gain, inverse, lora);
  }
  const Value grad_base = b.like(mixed.base, "dora.base.grad");
  const Value grad_update = b.like(mixed.update, "dora.update.grad");
  b.emit("dora_mix.backward", {grad_y, gains.gain}, {grad_base, grad_update},
         [first = piece.first_row](const Run& r) {
           kernels(r).dora_mix_backward(r.device(), r.in(0), r.in(1), first, r.out(0), r.out(1));
         });
  const Value grad_low = b.like(mixed.low, "linear.lora.grad");
  emit_linear_backward(b, grad_update, mixed.low, lora.b, piece.scale, grad_low);
  const Output grad_x = b.grad_out(x);
  Output grad_left;
  if (grad_x.value) {
    grad_left = b.like(x, "linear.dropped.grad");
    b.emit("linear.rows.backward", {grad_base, usable_weight(b, weight)}, {grad_left},
           [piece](const Run& r) {
             kernels(r).linear_backward_input(r.device(), r.in(0), rows_of(r.in(1), piece), 1.0F,
                                              r.out(0), false);
           });
    grad_left.mode = Output::Mode::add;
  }
  emit_linear_backward(b, grad_low, dropped(b, x, lora.dropout), lora.a, 1.0F, grad_left);
  if (grad_x.value) {
    emit_dropout(b, grad_left.value, lora.dropout, grad_x);
  }
}

Value mixed_linear(Program& p, Value x, const Linear& layer) {
  const Value weight = usable_weight(p, layer.weight);
  const Gains gains = emit_gains(p, weight, layer.lora);
  const Value y = p.activation("linear", {p.shape(x)[0], p.shape(weight)[0]});
  emit_base(p, x, layer, weight, y);
  std::vector<Mixed> mixed;
  for (const Lora& lora : layer.lora) {
    if (lora.magnitude) {
      mixed.push_back(emit_mixed(p, x, weight, gains.gain, lora, y));
    } else {
      emit_lora_up(p, x, lora, {y, Output::Mode::add});
      mixed.emplace_back();
    }
  }
  p.on_backward([=](Program& b) {
    const Value grad_y = b.grad(y);
    if (!grad_y) {
      return;
    }
    emit_bias_backward(b, grad_y, layer);
    for (size_t i = 0; i < layer.lora.size(); ++i) {
      const Lora& lora = layer.lora[i];
      if (lora.magnitude) {
        emit_mixed_backward(b, grad_y, x, layer.weight, gains, gains.inverses[i], mixed[i], lora);
      } else if (const Value grad_x = emit_lora_up_backward(b, grad_y, x, lora)) {
        emit_lora_down_backward(b, grad_x, x, lora);
      }
    }
    emit_base_backward(b, grad_y, x, layer);
  });
  return y;
}

}  // namespace

bool is_decomposed(const Linear& layer) {
  return std::ranges::any_of(layer.lora, [](const Lora& l) { return bool{l.magnitude}; });
}

Value decomposed_linear(Program& p, Value x, const Linear& layer) {
  const bool drops =
      std::ranges::any_of(layer.lora, [](const Lora& l) { return l.dropout.rate > 0.0F; });
  return drops ? mixed_linear(p, x, layer) : scaled_linear(p, x, layer);
}

Value decomposed_embedding(Program& p, Value sum, Value table, const Lora& lora) {
  const int64_t hidden = p.shape(table)[1], rank = p.shape(lora.a)[0];
  const Value squares = p.make("dora.squares", {hidden});
  p.emit("column_dots", {table}, {squares}, [](const Run& r) {
    kernels(r).column_dots(r.device(), r.in(0), r.in(0), {}, 0, r.out(0));
  });
  // A W, and W^T A^T
  const Value across = p.make("dora.across", {rank, hidden});
  p.emit("linear.backward.input", {lora.a, table}, {across}, [](const Run& r) {
    kernels(r).linear_backward_input(r.device(), r.in(0), r.in(1), 1.0F, r.out(0), false);
  });
  const Value down = p.make("dora.down", {hidden, rank});
  p.emit("transpose", {across}, {down},
         [](const Run& r) { kernels(r).transpose(r.device(), r.in(0), r.out(0), false); });
  const Value gain = p.make("dora.gain", {hidden});
  const Value inverse = emit_gain(p, squares, down, lora, {gain, Output::Mode::overwrite});
  const Value y = p.like(sum, "embedding.dora");
  p.emit("scale_columns", {sum, gain}, {y}, [](const Run& r) {
    kernels(r).scale_columns(r.device(), r.in(0), r.in(1), {}, r.out(0));
  });
  p.on_backward([=](Program& b) {
    const Value grad_y = b.grad(y);
    if (!grad_y) {
      return;
    }
    if (b.needs_grad(lora.magnitude)) {
      const Value grad_gain = b.like(gain, "dora.gain.grad");
      b.emit("column_dots", {grad_y, sum}, {grad_gain}, [](const Run& r) {
        kernels(r).column_dots(r.device(), r.in(0), r.in(1), {}, 0, r.out(0));
      });
      emit_gain_backward(b, grad_gain, inverse, lora);
    }
    b.emit("scale_columns.backward", {grad_y, gain}, {b.grad_out(sum)}, [](const Run& r) {
      kernels(r).scale_columns(r.device(), r.in(0), r.in(1), {}, r.out(0));
    });
  });
  return y;
}

}  // namespace sft
