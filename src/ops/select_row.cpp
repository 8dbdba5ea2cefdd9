#include "ops/select_row.h"

#include <algorithm>

namespace sft {

Value select_row(Program& p, Value x, Value row) {
  const int64_t width = p.shape(x)[1];
  const Value y = p.make("select_row", {1, width});
  p.emit("select_row", {x, row}, {y}, [width](const Run& r) {
    std::copy_n(r.in(0).f32() + r.in(1).i32()[0] * width, width, r.out(0).f32());
  });
  return y;
}

}  // namespace sft
