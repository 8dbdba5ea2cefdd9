#include "ops/add_scaled.h"

#include "core/error.h"
#include "ops/kernels.h"

namespace sft {

Value add_scaled(Program& p, Value residual, Value delta, float factor) {
  SFT_ASSERT(!residual || p.shape(residual) == p.shape(delta));
  const auto kernel = [factor](const Run& r) {
    kernels(r).add_scaled(r.device(), r.in(0), r.in(1), factor, r.out(0));
  };
  const Value y = p.like(delta, "residual");
  p.emit("add_scaled", {residual, delta}, {y}, kernel);
  p.on_backward([=](Program& b) {
    const Value grad = b.grad(y);
    if (!grad) {
      return;
    }
    if (residual) {
      b.share_grad(residual, grad);
    }
    if (factor == 1.0F) {
      b.share_grad(delta, grad);
    } else if (b.needs_grad(delta)) {
      const Value scaled = b.like(delta, "add_scaled.grad");
      b.emit("add_scaled.backward", {Value(), grad}, {scaled}, kernel);
      b.share_grad(delta, scaled);
    }
  });
  return y;
}

namespace cpu {

void add_scaled(Device& device, const Tensor& residual, const Tensor& delta, float factor,
                Tensor& y) {
  const float* const base = residual.f32();
  device.threads().parallel_for(y.shape.elements(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      y.f32()[i] = (base == nullptr ? 0.0F : base[i]) + factor * delta.f32()[i];
    }
  });
}

}  // namespace cpu

}  // namespace sft
