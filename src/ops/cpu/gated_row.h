// The gated activation of one row, for the CPU kernels that have it.
#pragma once

#include "ops/gated_activation.h"

namespace sft::cpu {

// y = act(gate) * up, of n values each.
void gated_row(const float* gate, const float* up, float* y, int64_t n, Activation activation);

}  // namespace sft::cpu
