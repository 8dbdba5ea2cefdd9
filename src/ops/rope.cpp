#include "ops/rope.h"

#include "core/error.h"
#include "ops/kernels.h"

namespace sft {

Value rope_table(Program& p, Value positions, Value documents, const RopeFrequencies& frequencies) {
  const int64_t width = frequencies.rotated() * (frequencies.query_beta > 0.0F ? 2 : 1);
  const Value table = p.make("rope_table", {p.shape(positions)[0], width});
  const Value lengths = frequencies.by_length() ? documents : Value{};
  p.emit("rope_table", {positions, lengths}, {table}, [frequencies](const Run& r) {
    kernels(r).rope_table_forward(r.device(), r.in(0), r.in(1), frequencies, r.out(0));
  });
  return table;
}

Value rope(Program& p, Value qkv, Value table, const Rotation& rotation, int64_t rotated) {
  SFT_ASSERT(p.shape(qkv)[1] == rotation.heads.row() && rotated <= rotation.heads.head_dim &&
             p.shape(table)[1] % rotated == 0);
  const auto rotate = [rotation, rotated](bool inverse) {
    return [=](const Run& r) {
      kernels(r).rope_rotate(r.device(), r.in(0), r.in(1), rotation, rotated, inverse, r.out(0));
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
