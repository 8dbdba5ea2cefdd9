// What each expert's outputs are multiplied by, whichever token they are of: Gemma 4.
#pragma once

#include "device/kernel.h"
#include "graph/program.h"
#include "ops/router.h"

namespace sft {

// `routed` with each weight multiplied by its expert's of `scales` (experts) f32.
Routed scale_experts(Program& p, const Routed& routed, Value scales);

// weights, y (tokens, chosen) f32, experts (tokens, chosen) i32, scales (experts) f32.
SFT_KERNEL(void, expert_scales_forward, const Tensor& weights, const Tensor& experts,
           const Tensor& scales, Tensor& y);
// Of y; either gradient may have no data, `accumulate` is of the scales'.
SFT_KERNEL(void, expert_scales_backward, const Tensor& grad, const Tensor& weights,
           const Tensor& experts, const Tensor& scales, Tensor& grad_weights, Tensor& grad_scales,
           bool accumulate);

}  // namespace sft
