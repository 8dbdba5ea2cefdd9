// The gated MLP of frozen weights with adapters, some tokens at a time, forward and backward, which
// computes its wide half again. What is as wide as the intermediate size is there for these tokens
// alone, so that a document's length is bounded by what is as wide as the hidden size.
#pragma once

#include "ops/gated_mlp.h"

namespace sft {

// Layers without a bias, with one adapter each at most that drops nothing, whose weights are in 16
// bits, 4 bits or ggml's blocks; else C171.
Value tiled_mlp(Program& p, Value x, const Linear& gate_up, const Linear& down,
                Activation activation, int64_t rows);

}  // namespace sft
