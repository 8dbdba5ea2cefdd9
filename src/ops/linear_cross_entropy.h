// The language-model head and the loss in one op: logits exist only for a few rows at a time, and
// only for rows that are trained.
#pragma once

#include "graph/program.h"

namespace sft {

enum class LossType {
  nll,  // -log p
  dft,  // -p log p with p held constant. Wu et al., "On the generalization of SFT" (2025)
};

// The sums over a micro-batch's trained tokens, in the order of the stats tensor.
struct LossStats {
  float loss = 0, correct = 0, entropy = 0, tokens = 0;
};

// hidden (tokens, hidden), weight (vocab, hidden), targets (tokens) i32 with -100 where nothing is
// trained, loss_scale (1): what a token's loss is multiplied by for the gradient (one over the
// tokens of the whole step). -> stats (4) as in LossStats, not scaled. In a training program
// the gradients of hidden and weight are made in the same pass, while the logits are at hand.
Value linear_cross_entropy(Program& p, Value hidden, Value weight, Value targets, Value loss_scale,
                           LossType type);

namespace cpu {
// Rows of logits that are held at a time.
int64_t loss_chunk_rows(int64_t vocab);
// grad_hidden and grad_weight may have no data; `workspace` (loss_chunk_rows, vocab + 2 hidden).
void linear_cross_entropy(ThreadPool& threads, const Tensor& hidden, const Tensor& weight,
                          const Tensor& targets, const Tensor& loss_scale, LossType type,
                          const Tensor& workspace, const Tensor& stats, const Tensor& grad_hidden,
                          const Tensor& grad_weight, bool accumulate_weight);
}  // namespace cpu

}  // namespace sft
