#include "ops/rope.h"

#include "core/error.h"
#include "ops/kernels.h"

namespace sft {

Value rope_table(Program& p, Value positions, const RopeFrequencies& frequencies) {
  const auto head_dim = static_cast<int64_t>(frequencies.inv_freq.size()) * 2;
  const Value table = p.make("rope_table", {p.shape(positions)[0], head_dim});
  p.emit("rope_table", {positions}, {table}, [frequencies](const Run& r) {
    kernels(r).rope_table_forward(r.device(), r.in(0), frequencies, r.out(0));
  });
  return table;
}

Value rope(Program& p, Value qkv, Value table, const Heads& heads) {
  SFT_ASSERT(p.shape(qkv)[1] == heads.row() && p.shape(table)[1] == heads.head_dim);
  const auto rotate = [heads](bool inverse) {
    return [heads, inverse](const Run& r) {
      kernels(r).rope_rotate(r.device(), r.in(0), r.in(1), heads, inverse, r.out(0));
    };
  };
  const Value y = p.like(qkv, "rope");
  p.emit("rope", {qkv, table}, {y}, rotate(false), 0);
  p.recompute_with_input();
  p.on_backward([=](Program& b) {
    if (!b.has_grad(y)) {
      return;
    }
    const Value grad = b.like(qkv, "rope.grad");
    b.emit("rope.backward", {b.grad(y), table}, {grad}, rotate(true), 0);
    b.share_grad(qkv, grad);
  });
  return y;
}

}  // namespace sft
