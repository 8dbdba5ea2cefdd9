// A residual addition whose sum is multiplied by a number of the model's (Gemma 4's layers).
#pragma once

#include "device/kernel.h"
#include "graph/program.h"

namespace sft {

// factor (residual + delta), both (rows, hidden); factor (1) f32, a parameter that is not trained.
Value scaled_sum(Program& p, Value residual, Value delta, Value factor);

// `residual` may have no data: it counts as zeros.
SFT_KERNEL(void, scaled_sum, const Tensor& residual, const Tensor& delta, const Tensor& factor,
           Tensor& y);

}  // namespace sft
