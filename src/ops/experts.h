// The experts of a mixture: rows of tokens are sorted by expert, each expert multiplies its own
// rows, and what comes out is put together again by token. Nothing is dropped, and how many rows an
// expert has is known to the device alone.
#pragma once

#include "device/kernel.h"
#include "graph/program.h"
#include "ops/linear.h"
#include "ops/router.h"

namespace sft {

// Every token has `chosen` rows, which stand expert by expert and, within one, token by token.
struct Dispatch {
  Value starts;   // (experts + 1) i32: an expert's first row, and the end
  Value rows;     // (tokens * chosen) i32: a row's token
  Value slots;    // (tokens, chosen) i32: a token's rows
  Value weights;  // (tokens, chosen) f32
};
Dispatch dispatch(Program& p, const Routed& routed, int experts);

// x (tokens, n) -> (tokens * chosen, n), each token's values in all of its rows.
Value to_experts(Program& p, Value x, const Dispatch& d);
// y (tokens * chosen, n) -> (tokens, n): the sum of a token's rows, each times its weight.
Value from_experts(Program& p, Value y, const Dispatch& d);

// A layer of each expert, one behind the other in every matrix: weight (experts * out, in), bias
// (experts, out) or null, and at most one adapter as PEFT keeps it: a (experts * rank, in), b
// (out, rank * experts), whose columns go through the experts for each rank. `turned`: each
// expert's part is published the other way round, weight (experts, in, out).
struct GroupedLinear {
  Linear layer;
  bool turned = false;
};
// x (rows, in), sorted by expert -> (rows, out)
Value grouped_linear(Program& p, Value x, Value starts, const GroupedLinear& layer, int experts);

SFT_KERNEL(void, sort_by_expert, const Tensor& experts, Tensor& starts, Tensor& rows,
           Tensor& slots);
// y (tokens, n) (+)= the sum of x's rows at `slots` (tokens, chosen), times `weights` (none: 1), in
// the order of the slots.
SFT_KERNEL(void, sum_slots, const Tensor& x, const Tensor& slots, const Tensor& weights, Tensor& y,
           bool accumulate);
// Of from_experts. Either gradient may have no data; `accumulate` is of the weights'.
SFT_KERNEL(void, from_experts_backward, const Tensor& grad, const Tensor& y, const Tensor& slots,
           const Tensor& weights, Tensor& grad_y, Tensor& grad_weights, bool accumulate);

// Of each of `starts`' groups of rows the product with its own part of `weight`, whose rows are
// shared out evenly: y (+)= alpha x weight^T + low low_weight^T, or, with `turned`, alpha x weight
// + low low_weight. low and low_weight may have no data; alpha is 1 where they have.
SFT_KERNEL(void, grouped_product, const Tensor& x, const Tensor& weight, const Tensor& low,
           const Tensor& low_weight, const Tensor& starts, bool turned, float alpha, Tensor& y,
           bool accumulate);
// grad (+)= a^T b for each group: a (rows, m), b (rows, n), grad (groups * m, n).
SFT_KERNEL(void, grouped_outer, const Tensor& a, const Tensor& b, const Tensor& starts,
           Tensor& grad, bool accumulate);
// y (experts * rows, rank) = an adapter's b (rows, rank * experts), expert by expert, and back:
// grad_b (+)= grad_y.
SFT_KERNEL(void, split_by_expert, const Tensor& b, Tensor& y);
SFT_KERNEL(void, split_by_expert_backward, const Tensor& grad_y, Tensor& grad_b, bool accumulate);
// y += the bias of each row's group; bias (groups * n).
SFT_KERNEL(void, grouped_bias, const Tensor& bias, const Tensor& starts, Tensor& y);
// grad (groups * n) (+)= the sum of each group's rows.
SFT_KERNEL(void, grouped_bias_backward, const Tensor& grad_y, const Tensor& starts, Tensor& grad,
           bool accumulate);

}  // namespace sft
