#include "ops/clamped_glu.h"

#include "ops/kernels.h"
#include "ops/pointwise.h"

namespace sft {

Value clamped_glu(Program& p, Value gate_up, const ClampedGlu& form) {
  return pointwise(p, gate_up, {p.shape(gate_up)[0], p.shape(gate_up)[1] / 2},
                   {"clamped_glu",
                    [form](const Run& r, const Tensor& in, Tensor& y) {
                      kernels(r).clamped_glu_forward(r.device(), in, form, y);
                    },
                    [form](const Run& r, const Tensor& grad_y, const Tensor& in, Tensor& grad) {
                      kernels(r).clamped_glu_backward(r.device(), grad_y, in, form, grad);
                    }});
}

}  // namespace sft
