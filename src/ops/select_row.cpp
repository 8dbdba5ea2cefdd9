#include "ops/select_row.h"

#include <algorithm>
#include "ops/kernels.h"

namespace sft {

Value select_row(Program& p, Value x, Value row) {
  const int64_t width = p.shape(x)[1];
  const Value y = p.activation("select_row", {1, width});
  p.emit("select_row", {x, row}, {y},
         [](const Run& r) { kernels(r).select_row(r.device(), r.in(0), r.in(1), r.out(0)); });
  return y;
}

void cpu::select_row(Device& /*device*/, const Tensor& x, const Tensor& row, const Tensor& y) {
  const int64_t width = x.shape[1];
  std::copy_n(x.f32() + row.i32()[0] * width, width, y.f32());
}

}  // namespace sft
