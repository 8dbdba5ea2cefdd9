// A residual addition that no norm follows, or whose addend is scaled.
#pragma once

#include "device/kernel.h"
#include "graph/program.h"

namespace sft {

// residual + factor delta, both (rows, hidden). A null residual counts as zeros.
Value add_scaled(Program& p, Value residual, Value delta, float factor);

// `residual` may have no data; y may be the memory of either.
SFT_KERNEL(void, add_scaled, const Tensor& residual, const Tensor& delta, float factor, Tensor& y);

}  // namespace sft
