#include "ops/qk_norm.h"

#include "core/error.h"
#include "ops/kernels.h"

namespace sft {

Value qk_norm(Program& p, Value qkv, Value query_weight, Value key_weight, const Heads& heads,
              const RmsNorm& options, bool values) {
  SFT_ASSERT(p.shape(qkv)[1] == heads.row());
  const Value y = p.like(qkv, "qk_norm");
  const bool together = p.shape(query_weight)[0] != heads.head_dim;
  SFT_ASSERT(!together || !values);
  const int64_t tokens = p.shape(qkv)[0];
  const int normed = heads.heads + (values ? 2 : 1) * heads.kv_heads;
  const Value rstd = p.make("qk_norm.rstd", together ? Shape{2, tokens} : Shape{tokens, normed});
  p.emit("qk_norm", {qkv, query_weight, key_weight}, {y, rstd}, [=](const Run& r) {
    kernels(r).qk_norm_forward(r.device(), r.in(0), r.in(1), r.in(2), heads, options, values,
                               r.out(0), r.out(1));
  });
  p.recompute_from(Recompute::norms);
  p.on_backward([=](Program& b) {
    if (!b.has_grad(y)) {
      return;
    }
    const Value grad = b.like(qkv, "qk_norm.grad");
    b.emit("qk_norm.backward", {b.grad(y), qkv, query_weight, key_weight, rstd},
           {grad, b.grad_out(query_weight), b.grad_out(key_weight)}, [=](const Run& r) {
             kernels(r).qk_norm_backward(r.device(), r.in(0), r.in(1), r.in(2), r.in(3), r.in(4),
                                         heads, options, values, r.out(0), r.out(1),
                                         r.accumulate(1), r.out(2), r.accumulate(2));
           });
    b.share_grad(qkv, grad);
  });
  return y;
}

}  // namespace sft
