// Attention sinks: a learned logit of each head that takes part in its softmax and has no value.
// Xiao et al., "Efficient streaming language models with attention sinks" (2023), as gpt-oss has
// them. Used by attention, whose kernels know nothing of them. With L the logarithm of a row's sum
// and L' = log(exp L + exp sink), the row's probabilities and so its y are multiplied by
// exp(L - L'). A backward pass that is given that y and L' is right as it is; the sink's own
// gradient is -exp(sink - L') (grad_y . y), summed over the rows.
#pragma once

#include "device/kernel.h"

namespace sft {

// sinks (heads) f32; table, y and log_sum as attention_forward has them.
SFT_KERNEL(void, add_sinks, const Tensor& sinks, const Tensor& table, Tensor& y, Tensor& log_sum);
// grad_sinks (heads) f32.
SFT_KERNEL(void, sinks_backward, const Tensor& grad_y, const Tensor& y, const Tensor& log_sum,
           const Tensor& sinks, const Tensor& table, Tensor& grad_sinks, bool accumulate);

}  // namespace sft
