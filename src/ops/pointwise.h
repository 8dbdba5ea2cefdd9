// Records an op whose result is made of one operand alone, value by value or pair by pair, and
// whose backward pass reads that operand again: the activations.
#pragma once

#include <functional>
#include <string>

#include "graph/program.h"

namespace sft {

struct Pointwise {
  std::string name;
  std::function<void(const Run&, const Tensor& x, Tensor& y)> forward;
  std::function<void(const Run&, const Tensor& grad_y, const Tensor& x, Tensor& grad_x)> backward;
};

// x -> (shape), computed again rather than kept where --gradient_checkpointing asks for norms.
Value pointwise(Program& p, Value x, const Shape& shape, const Pointwise& op);

}  // namespace sft
