#include "ops/gated_delta.h"

#include "core/error.h"
#include "ops/gated_delta_workspace.h"
#include "ops/kernels.h"

namespace sft {

int64_t gated_delta_workspace(const Target& target, const DeltaHeads& heads, int64_t tokens,
                              int64_t documents, bool backward) {
  if (target.device == DeviceKind::cpu) {
    return 0;
  }
  return DeltaWorkspace(heads, tokens, documents, size_of(target.compute), backward).bytes;
}

namespace {

Value output(Program& p, Value qkv, Value rates, const DeltaHeads& heads) {
  SFT_ASSERT(p.shape(qkv)[1] == heads.row() && heads.value_heads % heads.key_heads == 0 &&
             p.shape(rates)[1] == 2 * heads.value_heads);
  return p.activation("gated_delta", {p.shape(qkv)[0], heads.values()});
}

Output workspace(Program& p, Value qkv, Value table, const DeltaHeads& heads, bool backward) {
  const int64_t bytes =
      gated_delta_workspace(p.target(), heads, p.shape(qkv)[0], p.shape(table)[1] - 1, backward);
  return bytes == 0 ? Output{} : p.make("gated_delta.workspace", {(bytes + 3) / 4});
}

}  // namespace

Value gated_delta(Program& p, Value qkv, Value rates, Value a_log, Value dt_bias, Value table,
                  const DeltaHeads& heads) {
  const Value y = output(p, qkv, rates, heads);
  p.emit("gated_delta", {qkv, rates, a_log, dt_bias, table},
         {y, workspace(p, qkv, table, heads, false)}, [heads](const Run& r) {
           kernels(r).gated_delta_forward(r.device(), r.in(0), r.in(1), r.in(2), r.in(3), r.in(4),
                                          heads, r.out(0), r.out(1));
         });
  p.on_backward([=](Program& b) {
    if (!b.has_grad(y)) {
      return;
    }
    const Value grad_qkv = b.like(qkv, "gated_delta.grad");
    const Value grad_rates = b.like(rates, "gated_delta.grad_rates");
    b.emit("gated_delta.backward", {b.grad(y), qkv, rates, a_log, dt_bias, table},
           {grad_qkv, grad_rates, b.grad_out(a_log), b.grad_out(dt_bias),
            workspace(b, qkv, table, heads, true)},
           [heads](const Run& r) {
             kernels(r).gated_delta_backward(r.device(), r.in(0), r.in(1), r.in(2), r.in(3),
                                             r.in(4), r.in(5), heads, r.out(0), r.out(1), r.out(2),
                                             r.accumulate(2), r.out(3), r.accumulate(3), r.out(4));
           });
    b.share_grad(qkv, grad_qkv);
    b.share_grad(rates, grad_rates);
  });
  return y;
}

Value cached_gated_delta(Program& p, Value qkv, Value rates, Value a_log, Value dt_bias,
                         Value state, Value past, Value lanes, const DeltaHeads& heads) {
  const Value y = output(p, qkv, rates, heads);
  p.emit("cached_gated_delta", {qkv, rates, a_log, dt_bias, state, past, lanes}, {y},
         [heads](const Run& r) {
           kernels(r).cached_delta_forward(r.device(), r.in(0), r.in(1), r.in(2), r.in(3), r.in(5),
                                           r.in(6), heads, r.kept(4), r.out(0));
         });
  return y;
}

}  // namespace sft
