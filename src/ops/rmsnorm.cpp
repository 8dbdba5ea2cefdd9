#include "ops/rmsnorm.h"

#include "core/error.h"
#include "ops/kernels.h"

namespace sft {

namespace {

Kernel plain(const RmsNorm& options) {
  return [options](const Run& r) {
    Tensor no_sum;
    kernels(r).rmsnorm_forward(r.device(), r.in(0), {}, r.in(1), options, r.out(0), r.out(1),
                               no_sum);
  };
}

// The backward instruction of both ops: x is what was normalised, and its gradient so far is added
// in the same pass. Returns x's whole gradient.
Value emit_backward(Program& b, Value x, Value weight, Value rstd, Value y,
                    const RmsNorm& options) {
  const Value so_far = b.grad(x);
  if (!b.has_grad(y)) {
    return so_far;
  }
  const Value grad_x = b.like(x, b.info(x).name + ".grad");
  b.emit(
      "rmsnorm.backward", {so_far, b.grad(y), x, weight, rstd}, {grad_x, b.grad_out(weight)},
      [options](const Run& r) {
        kernels(r).rmsnorm_backward(r.device(), r.in(1), r.in(2), r.in(3), r.in(4), r.in(0),
                                    options, r.out(0), r.out(1), r.accumulate(1));
      },
      0);
  return grad_x;
}

}  // namespace

Value rmsnorm(Program& p, Value x, Value weight, const RmsNorm& options) {
  const int64_t n = p.shape(weight)[0];
  SFT_ASSERT(p.shape(x)[1] % n == 0);
  const Value y = p.like(x, "rmsnorm");
  const Value rstd = p.make("rmsnorm.rstd", {p.shape(x)[0], p.shape(x)[1] / n});
  p.emit("rmsnorm", {x, weight}, {y, rstd}, plain(options));
  p.recompute_from(Recompute::norms);
  p.on_backward([=](Program& b) {
    const Value grad_x = emit_backward(b, x, weight, rstd, y, options);
    b.replace_grad(x, grad_x);
  });
  return y;
}

std::pair<Value, Value> add_rmsnorm(Program& p, Value residual, Value delta, Value weight,
                                    const RmsNorm& options) {
  SFT_ASSERT(p.shape(residual) == p.shape(delta));
  const Value sum = p.like(residual, "residual");
  const Value y = p.like(residual, "rmsnorm");
  const Value rstd = p.make("rmsnorm.rstd", {p.shape(residual)[0]});
  p.emit("add_rmsnorm", {residual, delta, weight}, {sum, y, rstd}, [options](const Run& r) {
    kernels(r).rmsnorm_forward(r.device(), r.in(0), r.in(1), r.in(2), options, r.out(1), r.out(2),
                               r.out(0));
  });
  p.recompute_by("rmsnorm", {sum, weight}, {y, rstd}, plain(options));
  p.on_backward([=](Program& b) {
    const Value grad_sum = emit_backward(b, sum, weight, rstd, y, options);
    if (grad_sum) {
      b.share_grad(residual, grad_sum);
      b.share_grad(delta, grad_sum);
    }
  });
  return {sum, y};
}

}  // namespace sft
