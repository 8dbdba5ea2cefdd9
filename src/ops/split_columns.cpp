#include "ops/split_columns.h"

#include "core/error.h"
#include "ops/kernels.h"

namespace sft {

std::pair<Value, Value> split_columns(Program& p, Value x, const ColumnSplit& split) {
  const int64_t rows = p.shape(x)[0];
  SFT_ASSERT(split.first.columns() + split.second.columns() == p.shape(x)[1]);
  const Value first = p.make("split_columns", {rows, split.first.columns()}, p.info(x).dtype);
  const Value second = p.make("split_columns", {rows, split.second.columns()}, p.info(x).dtype);
  p.emit("split_columns", {x}, {first, second}, [split](const Run& r) {
    kernels(r).take_columns(r.device(), r.in(0), split.first, r.out(0));
    kernels(r).take_columns(r.device(), r.in(0), split.second, r.out(1));
  });
  p.recompute_from(Recompute::norms);
  p.on_backward([=](Program& b) {
    if (!b.has_grad(first) && !b.has_grad(second)) {
      return;
    }
    const Value grad = b.like(x, "split_columns.grad");
    b.emit("split_columns.backward", {b.grad(first), b.grad(second)}, {grad},
           [split](const Run& r) {
             kernels(r).put_columns(r.device(), r.in(0), split.first, r.out(0));
             kernels(r).put_columns(r.device(), r.in(1), split.second, r.out(0));
           });
    b.share_grad(x, grad);
  });
  return {first, second};
}

}  // namespace sft
