#include "ops/add_noise.h"

#include "ops/kernels.h"

namespace sft {

Value add_noise(Program& p, Value x, Value noise) {
  const Value y = p.like(x, "noisy");
  p.emit(
      "add_noise", {x, noise}, {y},
      [](const Run& r) { kernels(r).add_noise(r.device(), r.in(0), r.in(1), r.out(0)); }, 0);
  p.on_backward([=](Program& b) {
    if (b.has_grad(y) && b.needs_grad(x)) {
      b.share_grad(x, b.grad(y));
    }
  });
  return y;
}

namespace cpu {

void add_noise(Device& device, const Tensor& x, const Tensor& noise, Tensor& y) {
  device.threads().parallel_for(x.shape.elements(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      y.f32()[i] = x.f32()[i] + noise.f32()[i];
    }
  });
}

}  // namespace cpu

}  // namespace sft
