#include "ops/embedding_lora.h"

#include "ops/kernels.h"

namespace sft {

void add_embedding_lora(Program& p, Value tokens, const Lora& lora, int64_t padding, Value y) {
  const int64_t rank = p.shape(lora.a)[0], vocab = p.shape(lora.a)[1];
  const Value low = p.activation("embedding.lora", {p.shape(tokens)[0], rank});
  p.emit("gather_columns", {tokens, lora.a}, {low},
         [](const Run& r) { kernels(r).gather_columns(r.device(), r.in(0), r.in(1), r.out(0)); });
  emit_lora_up(p, low, lora, {y, Output::Mode::add});
  p.on_backward([=](Program& b) {
    const Value grad_y = b.grad(y);
    const Value grad_low = grad_y ? emit_lora_up_backward(b, grad_y, low, lora) : Value{};
    if (!grad_low || !b.needs_grad(lora.a)) {
      return;
    }
    // Tokens' rows are added up as the embedding's own gradient is, and then turned.
    const Value by_word = b.make("embedding.lora.words", {vocab, rank});
    b.emit("embedding.backward", {grad_low, tokens}, {by_word}, [padding](const Run& r) {
      kernels(r).embedding_backward(r.device(), r.in(0), r.in(1), 1.0F, padding, r.out(0), false);
    });
    b.emit("transpose", {by_word}, {b.grad_out(lora.a)}, [](const Run& r) {
      kernels(r).transpose(r.device(), r.in(0), r.out(0), r.accumulate(0));
    });
  });
}

namespace cpu {

void gather_columns(Device& device, const Tensor& tokens, const Tensor& table, Tensor& y) {
  const int64_t rank = table.shape[0], vocab = table.shape[1];
  device.threads().parallel_for(tokens.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t k = 0; k < rank; ++k) {
        y.f32()[t * rank + k] = table.f32()[k * vocab + tokens.i32()[t]];
      }
    }
  });
}

void transpose(Device& device, const Tensor& x, Tensor& y, bool accumulate) {
  const int64_t m = x.shape[0], n = x.shape[1];
  device.threads().parallel_for(n, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t j = 0; j < m; ++j) {
        float& to = y.f32()[i * m + j];
        to = accumulate ? to + x.f32()[j * n + i] : x.f32()[j * n + i];
      }
    }
  });
}

}  // namespace cpu

}  // namespace sft
