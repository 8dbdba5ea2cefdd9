// The activation of gpt-oss's experts: y = (up + 1) gate sigmoid(alpha gate), where gate is cut off
// at `limit` above and up on both sides. Gate and up take turns in a row.
#pragma once

#include "device/kernel.h"
#include "graph/program.h"
#include "ops/attributes.h"

namespace sft {

// gate_up (rows, 2 intermediate): gate in even columns, up in odd ones -> (rows, intermediate).
Value clamped_glu(Program& p, Value gate_up, const ClampedGlu& form);

SFT_KERNEL(void, clamped_glu_forward, const Tensor& gate_up, const ClampedGlu& form, Tensor& y);
SFT_KERNEL(void, clamped_glu_backward, const Tensor& grad_y, const Tensor& gate_up,
           const ClampedGlu& form, Tensor& grad_gate_up);

}  // namespace sft
