// y = x W^T + b, the matrix product of every projection.
#pragma once

#include <optional>

#include "graph/program.h"

namespace sft {

// A low-rank update of the weight: W + scale * B A. Hu et al., "LoRA" (2021).
struct Lora {
  Value a;  // (rank, in)
  Value b;  // (out, rank)
  float scale = 1.0F;
};

struct Linear {
  Value weight;  // (out, in); a frozen one of another type is widened when it is used
  Value bias;    // (out), or null
  std::optional<Lora> lora;
};

// x (tokens, in) -> (tokens, out). Gradients are made only for what is trained.
Value linear(Program& p, Value x, const Linear& layer);

// For ops that contain products: a weight that a kernel can use (itself, or a widened copy), and
// the backward instructions of y = alpha x weight^T given y's gradient. A null grad_x is left out.
Value usable_weight(Program& p, Value weight);
void emit_linear_backward(Program& b, Value grad_y, Value x, Value weight, float alpha,
                          Output grad_x);

namespace cpu {
void linear_forward(Device& device, const Tensor& x, const Tensor& weight, const Tensor& bias,
                    float alpha, const Tensor& y, bool accumulate);
// grad_x (+)= alpha grad_y W
void linear_backward_input(Device& device, const Tensor& grad_y, const Tensor& weight, float alpha,
                           const Tensor& grad_x, bool accumulate);
// grad_weight (+)= alpha grad_y^T x
void linear_backward_weight(Device& device, const Tensor& grad_y, const Tensor& x, float alpha,
                            const Tensor& grad_weight, bool accumulate);
// grad_bias (+)= the column sums of grad_y
void linear_backward_bias(Device& device, const Tensor& grad_y, const Tensor& grad_bias,
                          bool accumulate);
// A weight in another type, packed ones included, as float32.
void widen(Device& device, const Tensor& x, const Tensor& y);
}  // namespace cpu

}  // namespace sft
