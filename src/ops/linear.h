// y = x W^T + b, the matrix product of every projection.
#pragma once

#include <vector>

#include "device/kernel.h"
#include "graph/parameter.h"
#include "graph/program.h"
#include "ops/lora.h"

namespace sft {

struct Linear {
  Value weight;            // (out, in); a frozen one of another type, or in parts (Program::group),
                           // is widened when it is used
  Value bias;              // (out), or null
  std::vector<Lora> lora;  // by rank
  float int8_threshold = 6.0F;             // see ops/int8_linear.h
  std::vector<ElementRange> fixed_bias{};  // rows of a trained bias that are not
};

// x (tokens, in) -> (tokens, out). Gradients are made only for what is trained.
Value linear(Program& p, Value x, const Linear& layer);

// For ops that contain products: a weight that a kernel can use (itself, or a widened copy),
// y (+)= alpha x weight^T (+ bias), and its backward instructions given y's gradient. A null grad_x
// is left out.
Value usable_weight(Program& p, Value weight);
// `aside`: the weight's gradient may run beside what follows (Program::run_aside).
void emit_linear_backward(Program& b, Value grad_y, Value x, Value weight, float alpha,
                          Output grad_x, bool aside = true);
// y (+)= alpha x weight^T (+ bias)
void emit_product(Program& p, Value x, Value weight, Value bias, float alpha, Output y);
// Of a trained bias; the gradient of its `fixed` rows is zero.
void emit_linear_backward_bias(Program& b, Value grad_y, Value bias,
                               const std::vector<ElementRange>& fixed);

// Whether a layer's adapter writes all of an output that the frozen product is then added to: the
// product reads on a GPU what is there beside its own work, and an adapter that comes second would
// read and write it all for itself.
bool begins_with_adapter(const Program& p, const Linear& layer);

// x with some of its values dropped, which lives as long as it is read; x itself where none are.
Value dropped(Program& p, Value x, const Dropout& dropout);
// The middle of an adapter, x A^T of what is not dropped of x (x itself where it has no A), and its
// backward instructions, which draw what is dropped again.
Value emit_lora_down(Program& p, Value x, const Lora& lora);
void emit_lora_down_backward(Program& b, Value grad_low, Value x, const Lora& lora);

SFT_KERNEL(void, linear_forward, const Tensor& x, const Tensor& weight, const Tensor& bias,
           float alpha, Tensor& y, bool accumulate);
// grad_x (+)= alpha grad_y W
SFT_KERNEL(void, linear_backward_input, const Tensor& grad_y, const Tensor& weight, float alpha,
           Tensor& grad_x, bool accumulate);
// grad_weight (+)= alpha grad_y^T x
SFT_KERNEL(void, linear_backward_weight, const Tensor& grad_y, const Tensor& x, float alpha,
           Tensor& grad_weight, bool accumulate);
// grad_bias (+)= the column sums of grad_y
SFT_KERNEL(void, linear_backward_bias, const Tensor& grad_y, Tensor& grad_bias, bool accumulate);
// A weight in another type, packed ones included, as float32.
SFT_KERNEL(void, widen, const Tensor& x, Tensor& y);

}  // namespace sft
