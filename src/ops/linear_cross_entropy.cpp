#include "ops/linear_cross_entropy.h"

#include "core/error.h"

namespace sft {

Value linear_cross_entropy(Program& p, Value hidden, Value weight, Value targets, Value loss_scale,
                           LossType type) {
  const int64_t width = p.shape(hidden)[1];
  const int64_t vocab = p.shape(weight)[0];
  SFT_ASSERT(p.shape(weight)[1] == width);
  const Value stats = p.make("loss.stats", {4});
  const Value workspace =
      p.make("loss.workspace", {cpu::loss_chunk_rows(vocab), vocab + 2 * width});
  p.emit("linear_cross_entropy", {hidden, weight, targets, loss_scale},
         {stats, workspace, p.grad_out(hidden), p.grad_out(weight)}, [type](const Run& r) {
           cpu::linear_cross_entropy(r.threads(), r.in(0), r.in(1), r.in(2), r.in(3), type,
                                     r.out(1), r.out(0), r.out(2), r.out(3), r.accumulate(3));
         });
  return stats;
}

}  // namespace sft
