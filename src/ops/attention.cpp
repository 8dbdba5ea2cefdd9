#include "ops/attention.h"

#include "core/error.h"
#include "ops/kernels.h"

namespace sft {

namespace {

// On a GPU two values for each row of log_sum, and some that are read but not used.
Shape workspace_shape(const Target& target, const Attention& options, int64_t tokens) {
  if (target.device == DeviceKind::cpu) {
    return {options.heads.heads, tokens, 2 * int64_t{options.heads.head_dim}};
  }
  return {2 * tokens * options.heads.heads + 256};
}

}  // namespace

Value document_table(Program& p, Value documents, const Heads& heads, int64_t tokens) {
  const int64_t columns = p.shape(documents)[0];
  const AttentionTiles tiles(heads, tokens, columns - 1);
  const int64_t rows =
      p.target().device == DeviceKind::cpu ? 5 : (tiles.values() + columns - 1) / columns;
  const Value table = p.make("document_table", {rows, columns}, DType::i32);
  p.emit("document_table", {documents}, {table}, [heads, tokens](const Run& r) {
    kernels(r).document_table(r.device(), r.in(0), heads, tokens, r.out(0));
  });
  return table;
}

Value attention(Program& p, Value qkv, Value table, const Attention& options, Value sinks) {
  const Heads& heads = options.heads;
  SFT_ASSERT(p.shape(qkv)[1] == heads.row() && heads.heads % heads.kv_heads == 0);
  const int64_t tokens = p.shape(qkv)[0];
  const Value y = p.activation("attention", {tokens, int64_t{heads.heads} * heads.head_dim});
  const Value log_sum = p.target().device == DeviceKind::cpu
                            ? p.make("attention.log_sum", {heads.heads, tokens})
                            : p.make("attention.log_sum", {tokens, heads.heads});
  const DropoutInputs& drop = options.dropout.inputs;
  p.emit("attention", {qkv, table, drop.keys, drop.seed, sinks}, {y, log_sum},
         [options](const Run& r) {
           kernels(r).attention_forward(r.device(), r.in(0), r.in(1), r.in(2), r.in(3), options,
                                        r.out(0), r.out(1));
           if (r.in(4).data != nullptr) {
             kernels(r).add_sinks(r.device(), r.in(4), r.in(1), r.out(0), r.out(1));
           }
         });
  p.on_backward([=](Program& b) {
    if (!b.has_grad(y)) {
      return;
    }
    const Value grad = b.like(qkv, "attention.grad");
    const Value workspace =
        b.make("attention.workspace", workspace_shape(b.target(), options, tokens));
    const DropoutInputs& dropped = options.dropout.inputs;
    b.emit("attention.backward", {b.grad(y), qkv, y, log_sum, table, dropped.keys, dropped.seed},
           {grad, workspace}, [options](const Run& r) {
             kernels(r).attention_backward(r.device(), r.in(0), r.in(1), r.in(2), r.in(3), r.in(4),
                                           r.in(5), r.in(6), options, r.out(0), r.out(1));
           });
    b.share_grad(qkv, grad);
    if (sinks && b.needs_grad(sinks)) {
      b.emit("attention.sinks.backward", {b.grad(y), y, log_sum, sinks, table}, {b.grad_out(sinks)},
             [](const Run& r) {
               kernels(r).sinks_backward(r.device(), r.in(0), r.in(1), r.in(2), r.in(3), r.in(4),
                                         r.out(0), r.accumulate(0));
             });
    }
  });
  return y;
}

Value cached_attention(Program& p, Value qkv, Value cache, Value past, const Attention& options,
                       Value sinks) {
  const Heads& heads = options.heads;
  const Value y =
      p.activation("attention", {p.shape(qkv)[0], int64_t{heads.heads} * heads.head_dim});
  p.emit("cached_attention", {qkv, cache, past, sinks}, {y}, [options](const Run& r) {
    kernels(r).cached_attention_forward(r.device(), r.in(0), r.kept(1), r.in(2), r.in(3), options,
                                        r.out(0));
  });
  return y;
}

}  // namespace sft
