// A mixture's router: which experts a token goes to, with which weights, and how evenly that shares
// out the tokens. Shazeer et al., "Outrageously large neural networks" (2017).
#pragma once

#include "device/kernel.h"
#include "graph/program.h"
#include "ops/attributes.h"

namespace sft {

// What the loss wants of a router beside its choice (balance_loss); without values: nothing.
struct Balance {
  Value documents;  // a document_table, or its first row: tokens behind the last do not count
  Value gradient;   // (experts): of the loss, by each token's scores
  explicit operator bool() const { return static_cast<bool>(gradient); }
};

struct Routed {
  Value weights;  // (tokens, chosen) f32
  Value experts;  // (tokens, chosen) i32, the best first; of equal ones the lower number
};
// logits (tokens, experts), correction (experts) f32: what is added to scores where experts are
// chosen, or null.
Routed route(Program& p, Value logits, Value correction, const Routing& routing,
             const Balance& balance);

// (2, experts) f32: how often each expert was chosen, and the sum of its softmax over the tokens
// of the documents, in all layers up to this one; `before` is null in the first.
Value expert_load(Program& p, Value logits, Value experts, Value documents, Value before);

// loss (1): the auxiliary loss of Fedus et al., "Switch transformers" (2021), (4) to (6), over all
// layers' tokens as one, as transformers has it: experts * sum_e (chosen_e / rows) * (softmax_e /
// rows). Of `balance` the gradient is written: the loss's times `scale` (1).
void emit_balance_loss(Program& p, Value load, int layers, Value scale, const Balance& balance,
                       Value loss);

SFT_KERNEL(void, route_forward, const Tensor& logits, const Tensor& correction,
           const Routing& routing, Tensor& weights, Tensor& experts);
// Either grad_weights or `balance` (experts) may have no data; `documents` belongs to the latter.
SFT_KERNEL(void, route_backward, const Tensor& grad_weights, const Tensor& logits,
           const Tensor& experts, const Tensor& balance, const Tensor& documents,
           const Routing& routing, Tensor& grad_logits);
SFT_KERNEL(void, expert_load, const Tensor& logits, const Tensor& experts, const Tensor& documents,
           const Tensor& before, Tensor& load);
SFT_KERNEL(void, balance_loss, const Tensor& load, const Tensor& documents, int layers,
           const Tensor& scale, Tensor& loss, Tensor& gradient);

}  // namespace sft
