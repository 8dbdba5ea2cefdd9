#include "ops/scaled_sum.h"

#include "core/error.h"
#include "ops/kernels.h"

namespace sft {

Value scaled_sum(Program& p, Value residual, Value delta, Value factor) {
  SFT_ASSERT(p.shape(residual) == p.shape(delta) && p.shape(factor).elements() == 1 &&
             !p.needs_grad(factor));
  const auto kernel = [](const Run& r) {
    kernels(r).scaled_sum(r.device(), r.in(0), r.in(1), r.in(2), r.out(0));
  };
  const Value y = p.like(delta, "residual");
  p.emit("scaled_sum", {residual, delta, factor}, {y}, kernel);
  p.on_backward([=](Program& b) {
    if (!b.has_grad(y)) {
      return;
    }
    const Value grad = b.like(delta, "scaled_sum.grad");
    b.emit("scaled_sum.backward", {Value(), b.grad(y), factor}, {grad}, kernel, 1);
    b.share_grad(residual, grad);
    b.share_grad(delta, grad);
  });
  return y;
}

namespace cpu {

void scaled_sum(Device& device, const Tensor& residual, const Tensor& delta, const Tensor& factor,
                Tensor& y) {
  const float* const base = residual.f32();
  const float by = *factor.f32();
  device.threads().parallel_for(y.shape.elements(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      y.f32()[i] = by * ((base == nullptr ? 0.0F : base[i]) + delta.f32()[i]);
    }
  });
}

}  // namespace cpu

}  // namespace sft
