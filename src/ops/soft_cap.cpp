#include "ops/soft_cap.h"

#include <cmath>

#include "core/error.h"
#include "ops/kernels.h"

namespace sft {

Value soft_cap(Program& p, Value x, float cap) {
  if (cap == 0.0F) {
    return x;
  }
  SFT_ASSERT(!p.training());
  const Value y = p.like(x, "soft_cap");
  p.emit(
      "soft_cap", {x}, {y},
      [cap](const Run& r) { kernels(r).soft_cap(r.device(), r.in(0), cap, r.out(0)); }, 0);
  return y;
}

namespace cpu {

void soft_cap(Device& device, const Tensor& x, float cap, Tensor& y) {
  device.threads().parallel_for(x.shape.elements(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      y.f32()[i] = cap * std::tanh(x.f32()[i] / cap);
    }
  });
}

}  // namespace cpu

}  // namespace sft
