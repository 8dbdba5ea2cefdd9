// The language-model head and the loss in one op: logits exist only for a few rows at a time, and
// only for rows that are trained.
#pragma once

#include "device/kernel.h"
#include "graph/program.h"
#include "ops/attributes.h"

namespace sft {

// The sums over a micro-batch's trained tokens, in the order of the stats tensor.
struct LossStats {
  float loss = 0, correct = 0, entropy = 0, tokens = 0;
};

// An adapter on the head: logits += scale low up^T.
struct HeadUpdate {
  Value low;  // (tokens, rank); null: there is none
  Value up;   // (vocab, rank)
  float scale = 1.0F;
};

// hidden (tokens, hidden), weight (vocab, hidden), targets (tokens) i32, rows (at most tokens) i32:
// the rows that are trained, sized by the host, loss_scale (1): what a token's loss is multiplied
// by for the gradient (one over the tokens of the whole step). -> stats (4) as in LossStats, not
// scaled. In a training program the gradients of hidden, weight and the update are made in the same
// pass, while the logits are at hand.
Value linear_cross_entropy(Program& p, Value hidden, Value weight, Value targets, Value rows,
                           Value loss_scale, TokenLoss loss, const HeadUpdate& update = {});

// The workspace: (rows of logits that are held at a time, a row of logits padded + 2 hidden).
Shape loss_workspace(const Target& target, int64_t tokens, int64_t vocab, int64_t hidden);

// grad_hidden and grad_weight may have no data, nor may all that is of the update (low, up,
// grad_low, grad_up); `workspace` as above; row_stats (tokens, 4); update_workspace (rows of logits
// that are held, 2 rank).
SFT_KERNEL(void, linear_cross_entropy, const Tensor& hidden, const Tensor& weight,
           const Tensor& targets, const Tensor& rows, const Tensor& loss_scale, TokenLoss loss,
           Tensor& workspace, Tensor& row_stats, Tensor& stats, Tensor& grad_hidden,
           Tensor& grad_weight, bool accumulate_weight, const Tensor& low, const Tensor& up,
           float scale, Tensor& update_workspace, Tensor& grad_low, Tensor& grad_up,
           bool accumulate_up);

}  // namespace sft
