#include "ops/causal_conv.h"

#include "core/error.h"
#include "ops/kernels.h"

namespace sft {

namespace {

Value output(Program& p, Value x, Value weight, ConvForm form) {
  const int64_t channels = p.shape(weight)[0];
  SFT_ASSERT(p.shape(weight).rank() == 3 &&
             p.shape(x)[1] == channels * (form == ConvForm::gated ? 3 : 1));
  return p.activation("causal_conv", {p.shape(x)[0], channels});
}

}  // namespace

Value causal_conv(Program& p, Value x, Value weight, Value bias, Value table, ConvForm form) {
  const Value y = output(p, x, weight, form);
  p.emit("causal_conv", {x, weight, bias, table}, {y}, [form](const Run& r) {
    kernels(r).causal_conv_forward(r.device(), r.in(0), r.in(1), r.in(2), r.in(3), form, r.out(0));
  });
  p.recompute_from(Recompute::norms);
  p.on_backward([=](Program& b) {
    if (!b.has_grad(y)) {
      return;
    }
    const Value grad_x = b.like(x, "causal_conv.grad");
    b.emit("causal_conv.backward", {b.grad(y), x, weight, bias, table},
           {grad_x, b.grad_out(weight), b.grad_out(bias)}, [form](const Run& r) {
             kernels(r).causal_conv_backward(r.device(), r.in(0), r.in(1), r.in(2), r.in(3),
                                             r.in(4), form, r.out(0), r.out(1), r.accumulate(1),
                                             r.out(2), r.accumulate(2));
           });
    b.share_grad(x, grad_x);
  });
  return y;
}

Value cached_conv(Program& p, Value x, Value weight, Value bias, Value state, Value past,
                  Value lanes, ConvForm form) {
  const Value y = output(p, x, weight, form);
  p.emit("cached_conv", {x, weight, bias, state, past, lanes}, {y}, [form](const Run& r) {
    kernels(r).cached_conv_forward(r.device(), r.in(0), r.in(1), r.in(2), r.in(4), r.in(5), form,
                                   r.kept(3), r.out(0));
  });
  return y;
}

}  // namespace sft
