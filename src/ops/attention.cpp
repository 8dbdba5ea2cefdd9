#include "ops/attention.h"

#include "core/error.h"

namespace sft {

Value attention(Program& p, Value qkv, Value documents, const Attention& options) {
  const Heads& heads = options.heads;
  SFT_ASSERT(p.shape(qkv)[1] == heads.row() && heads.heads % heads.kv_heads == 0);
  const int64_t tokens = p.shape(qkv)[0];
  const Value y = p.make("attention", {tokens, int64_t{heads.heads} * heads.head_dim});
  const Value log_sum = p.make("attention.log_sum", {heads.heads, tokens});
  p.emit("attention", {qkv, documents}, {y, log_sum}, [options](const Run& r) {
    cpu::attention_forward(r.threads(), r.in(0), r.in(1), options, r.out(0), r.out(1));
  });
  p.on_backward([=](Program& b) {
    if (!b.has_grad(y)) {
      return;
    }
    const Value grad = b.like(qkv, "attention.grad");
    const Value workspace =
        b.make("attention.workspace", {heads.heads, tokens, 2 * int64_t{heads.head_dim}});
    b.emit("attention.backward", {b.grad(y), qkv, y, log_sum, documents}, {grad, workspace},
           [options](const Run& r) {
             cpu::attention_backward(r.threads(), r.in(0), r.in(1), r.in(2), r.in(3), r.in(4),
                                     options, r.out(0), r.out(1));
           });
    b.share_grad(qkv, grad);
  });
  return y;
}

Value cached_attention(Program& p, Value qkv, Value cache, Value past, const Attention& options) {
  const Heads& heads = options.heads;
  const Value y = p.make("attention", {p.shape(qkv)[0], int64_t{heads.heads} * heads.head_dim});
  p.emit("cached_attention", {qkv, cache, past}, {y}, [options](const Run& r) {
    cpu::cached_attention_forward(r.threads(), r.in(0), r.in(1), r.in(2), options, r.out(0));
  });
  return y;
}

}  // namespace sft
