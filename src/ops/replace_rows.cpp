#include "ops/replace_rows.h"

#include "core/error.h"

namespace sft {

namespace {

// Row i of a tensor.
Tensor row_of(const Tensor& t, int64_t i) {
  const size_t bytes = static_cast<size_t>(t.shape[1]) * size_of(t.dtype);
  return {static_cast<std::byte*>(t.data) + static_cast<size_t>(i) * bytes, {t.shape[1]}, t.dtype};
}

}  // namespace

Value replace_rows(Program& p, Value table, Value rows, const std::vector<int64_t>& which) {
  SFT_ASSERT(p.shape(rows)[0] == static_cast<int64_t>(which.size()));
  SFT_ASSERT(p.info(rows).dtype == p.info(table).dtype);
  const Value merged = p.make("table", p.shape(table), p.info(table).dtype);
  p.emit("replace_rows", {table, rows}, {merged}, [which](const Run& r) {
    r.device().copy(r.out(0).data, r.in(0).data, r.out(0).bytes());
    for (size_t i = 0; i < which.size(); ++i) {
      const Tensor from = row_of(r.in(1), static_cast<int64_t>(i));
      r.device().copy(row_of(r.out(0), which[i]).data, from.data, from.bytes());
    }
  });
  p.widen_grad(merged);
  p.on_backward([=](Program& b) {
    const Value grad = b.grad(merged);
    if (!grad || !b.needs_grad(rows)) {
      return;
    }
    b.emit("replace_rows.backward", {grad}, {b.grad_out(rows)}, [which](const Run& r) {
      for (size_t i = 0; i < which.size(); ++i) {
        Tensor to = row_of(r.out(0), static_cast<int64_t>(i));
        r.device().add(row_of(r.in(0), which[i]), to, r.accumulate(0));
      }
    });
  });
  return merged;
}

}  // namespace sft
