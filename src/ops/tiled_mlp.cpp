#include "ops/tiled_mlp.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "ops/dora.h"
#include "ops/fp8_linear.h"
#include "ops/int8_linear.h"
#include "ops/kernels.h"
#include "ops/row_range.h"

namespace sft {

namespace {

// What the instructions read, by position; a layer without an adapter has no a and b.
enum In { kGrad, kX, kGateUp, kDown, kGateUpA, kGateUpB, kDownA, kDownB };
using Pieces = std::vector<LoraPiece>;

Pieces pieces_of(const Linear& layer) {
  return layer.lora.empty() ? Pieces() : layer.lora[0].pieces;
}

void check_layer(const Program& p, const Linear& layer) {
  const bool parted = !layer.lora.empty() && !layer.lora[0].a;
  const bool drops = !layer.lora.empty() && layer.lora[0].dropout.rate > 0.0F;
  const char* const why = p.needs_grad(layer.weight) ? "its weights are trained"
                          : layer.bias               ? "it has a bias"
                          : layer.lora.size() > 1    ? "its adapters differ in rank"
                          : is_decomposed(layer)     ? "its adapters are DoRA's (--use_dora)"
                          : parted                   ? "a part of it is trained whole"
                          : drops                    ? "its adapters drop inputs (lora_dropout)"
                          : is_fp8(p, layer.weight)  ? "its base is in float8"
                          : is_int8(p, layer.weight) ? "its base is in int8"
                                                     : nullptr;
  if (why != nullptr) {
    throw Error("C171", fmt::format("--mlp_tile computes the MLP of some tokens at a time, which "
                                    "this run's cannot be: {}",
                                    why))
        .hint("leave --mlp_tile out, or train adapters with --use_peft --lora_dropout 0");
  }
}

std::vector<Value> operands(Program& p, Value grad, Value x, const Linear& gate_up,
                            const Linear& down) {
  std::vector<Value> in{grad, x, usable_weight(p, gate_up.weight), usable_weight(p, down.weight)};
  for (const Linear* const layer : {&gate_up, &down}) {
    in.push_back(layer->lora.empty() ? Value() : layer->lora[0].a);
    in.push_back(layer->lora.empty() ? Value() : layer->lora[0].b);
  }
  return in;
}

// The rows of one tile of what an instruction has.
struct Tile {
  const Run& r;
  const OpKernels& k;
  int64_t first, count;
  Activation activation;
  const Pieces &pieces, &down_pieces;

  Device& device() const { return r.device(); }
  Tensor rows(const Tensor& t) const { return row_range(t, first, count); }
  Tensor work(int i) const { return r.wants(i) ? row_range(r.out(i), 0, count) : Tensor{}; }
  bool has(In i) const { return r.in(i).data != nullptr; }

  // gate_up, y and the middle of gate_up's adapter.
  void forward(Tensor& gate_up, Tensor& y, Tensor& low) const {
    const Tensor x = rows(r.in(kX));
    if (has(kGateUpA)) {
      k.linear_forward(device(), x, r.in(kGateUpA), {}, 1.0F, low, false);
    }
    k.gated_mlp_forward(device(), x, r.in(kGateUp), has(kGateUpA) ? low : Tensor{}, r.in(kGateUpB),
                        pieces, activation, gate_up, y);
  }
};

void forward_tile(const Tile& t) {
  Tensor out = t.rows(t.r.out(0));
  Tensor gate_up = t.work(1), y = t.work(2), low = t.work(3), down_low = t.work(4);
  t.forward(gate_up, y, low);
  t.k.linear_forward(t.device(), y, t.r.in(kDown), {}, 1.0F, out, false);
  if (t.has(kDownA)) {
    t.k.linear_forward(t.device(), y, t.r.in(kDownA), {}, 1.0F, down_low, false);
    t.k.lora_up(t.device(), down_low, t.r.in(kDownB), t.down_pieces, out, true);
  }
}

// Gradients of x, and of gate_up's a and b and down's; then the workspace.
void backward_tile(const Tile& t) {
  const Run& r = t.r;
  const Tensor grad = t.rows(r.in(kGrad)), x = t.rows(r.in(kX));
  Tensor gate_up = t.work(5), y = t.work(6), low = t.work(7), down_low = t.work(8);
  Tensor grad_low = t.work(9), grad_down_low = t.work(10);
  const auto adds = [&](int i) { return r.accumulate(i) || t.first > 0; };
  t.forward(gate_up, y, low);
  if (t.has(kDownA)) {
    t.k.linear_forward(t.device(), y, r.in(kDownA), {}, 1.0F, down_low, false);
    t.k.lora_up_backward_weight(t.device(), grad, down_low, t.down_pieces, r.out(4), adds(4));
    t.k.lora_up_backward_input(t.device(), grad, r.in(kDownB), t.down_pieces, grad_down_low);
    t.k.linear_backward_weight(t.device(), grad_down_low, y, 1.0F, r.out(3), adds(3));
  }
  t.k.gated_mlp_backward(t.device(), grad, r.in(kDown), t.has(kDownA) ? grad_down_low : Tensor{},
                         r.in(kDownA), gate_up, t.activation, gate_up, r.out(11));
  if (t.has(kGateUpA)) {
    t.k.lora_up_backward_weight(t.device(), gate_up, low, t.pieces, r.out(2), adds(2));
    t.k.lora_up_backward_input(t.device(), gate_up, r.in(kGateUpB), t.pieces, grad_low);
    t.k.linear_backward_weight(t.device(), grad_low, x, 1.0F, r.out(1), adds(1));
  }
  if (!r.wants(0)) {
    return;
  }
  Tensor grad_x = t.rows(r.out(0));
  bool begun = r.accumulate(0);
  if (t.has(kGateUpA)) {
    t.k.linear_backward_input(t.device(), grad_low, r.in(kGateUpA), 1.0F, grad_x, begun);
    begun = true;
  }
  t.k.linear_backward_input(t.device(), gate_up, r.in(kGateUp), 1.0F, grad_x, begun);
}

Kernel by_tiles(int64_t rows, Activation activation, const Linear& gate_up, const Linear& down,
                void (*tile)(const Tile&)) {
  return [=, pieces = pieces_of(gate_up), down_pieces = pieces_of(down)](const Run& r) {
    const int64_t tokens = r.in(kX).shape[0];
    for (int64_t first = 0; first < tokens; first += rows) {
      tile({r, kernels(r), first, std::min(rows, tokens - first), activation, pieces, down_pieces});
    }
  };
}

// Gate_up, its activation and the middles of the adapters, of as many rows as a tile has.
std::vector<Output> wide_half(Program& p, int64_t rows, const Linear& gate_up, const Linear& down) {
  const int64_t wide = p.shape(gate_up.weight)[0];
  const auto low = [&](const Linear& layer) {
    return layer.lora.empty() ? Value()
                              : p.activation("tiled_mlp.lora", {rows, p.shape(layer.lora[0].a)[0]});
  };
  return {p.activation("tiled_mlp.gate_up", {rows, wide}),
          p.activation("tiled_mlp.y", {rows, wide / 2}), low(gate_up), low(down)};
}

}  // namespace

Value tiled_mlp(Program& p, Value x, const Linear& gate_up, const Linear& down,
                Activation activation, int64_t most_rows) {
  check_layer(p, gate_up);
  check_layer(p, down);
  const int64_t tokens = p.shape(x)[0];
  const int64_t rows = std::min(tokens, most_rows);
  const Value out = p.activation("tiled_mlp", {tokens, p.shape(down.weight)[0]});
  std::vector<Output> outputs{out};
  std::ranges::copy(wide_half(p, rows, gate_up, down), std::back_inserter(outputs));
  p.emit("tiled_mlp", operands(p, {}, x, gate_up, down), outputs,
         by_tiles(rows, activation, gate_up, down, forward_tile));
  p.on_backward([=](Program& b) {
    const Value grad = b.grad(out);
    if (!grad) {
      return;
    }
    const std::vector<Value> in = operands(b, grad, x, gate_up, down);
    std::vector<Output> results{b.grad_out(x)};
    for (const In i : {kGateUpA, kGateUpB, kDownA, kDownB}) {
      results.push_back(b.grad_out(in[i]));
    }
    std::ranges::copy(wide_half(b, rows, gate_up, down), std::back_inserter(results));
    for (const Linear* const layer : {&gate_up, &down}) {
      results.emplace_back(
          layer->lora.empty()
              ? Value()
              : b.activation("tiled_mlp.lora.grad", {rows, b.shape(layer->lora[0].a)[0]}));
    }
    results.emplace_back(b.activation("tiled_mlp.grad", {rows, b.shape(gate_up.weight)[0] / 2}));
    b.emit("tiled_mlp.backward", in, results,
           by_tiles(rows, activation, gate_up, down, backward_tile));
  });
  return out;
}

}  // namespace sft
