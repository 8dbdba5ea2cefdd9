#include "ops/dropout.h"

#include "core/philox.h"
#include "ops/dropout_draw.h"
#include "ops/kernels.h"

namespace sft {

void emit_dropout(Program& p, Value x, const Dropout& dropout, Output y) {
  const DropoutInputs& in = dropout.inputs;
  const bool all = p.shape(x)[0] == p.shape(in.keys)[0];
  p.emit("dropout", {x, all ? in.keys : in.kept_keys, in.seed}, {y},
         [rate = dropout.rate, site = dropout.site](const Run& r) {
           kernels(r).dropout(r.device(), r.in(0), r.in(1), r.in(2), rate, site, r.out(0),
                              r.accumulate(0));
         });
}

Value dropout(Program& p, Value x, const Dropout& dropout) {
  if (dropout.rate == 0.0F) {
    return x;
  }
  const Value y = p.like(x, "dropout");
  emit_dropout(p, x, dropout, y);
  p.on_backward([=](Program& b) {
    if (const Value grad = b.grad(y)) {
      emit_dropout(b, grad, dropout, b.grad_out(x));
    }
  });
  return y;
}

namespace cpu {

void dropout(Device& device, const Tensor& x, const Tensor& keys, const Tensor& seed, float rate,
             uint32_t site, Tensor& y, bool accumulate) {
  const int64_t n = x.shape[1];
  const DropoutDraw draw(seed.i32(), rate, site);
  device.threads().parallel_for(x.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int32_t* const key = keys.i32() + 2 * t;
      for (int64_t i = 0; i < n; i += 4) {
        const PhiloxWords words = draw.words(key, i);
        for (int64_t j = i; j < i + 4 && j < n; ++j) {
          const float kept = draw.kept(words, j) ? x.f32()[t * n + j] * draw.scale : 0.0F;
          y.f32()[t * n + j] = accumulate ? y.f32()[t * n + j] + kept : kept;
        }
      }
    }
  });
}

}  // namespace cpu

}  // namespace sft
