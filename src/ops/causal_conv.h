// Short convolutions over documents laid end to end: each channel by itself, a token and the few
// before it in its own document. In Qwen3-Next's and Qwen3.5's linear attention, and in LFM2.
#pragma once

#include "device/kernel.h"
#include "graph/program.h"

namespace sft {

// What stands around the sum over taps.
enum class ConvForm {
  silu,   // y = silu(conv(x)); x (tokens, channels)
  gated,  // y = c * conv(b * x); x (tokens, 3 channels): b, c and x in a row
};

// conv(u)[t] = bias + sum over j of weight[j] u[t - taps + 1 + j], where what lies before the
// document counts as zeros; weight (channels, 1, taps), a null bias counts as zeros, `table` is the
// document_table (ops/attention.h). -> (tokens, channels), 0 after the last document.
Value causal_conv(Program& p, Value x, Value weight, Value bias, Value table, ConvForm form);

// For generation: equally many new tokens in each of the texts; `past` (texts, 2) i32 as
// cached_attention has it, lanes (texts) i32: the row of `state` (lanes, taps - 1, channels) that
// holds what the sum saw last in each, in its own order of time.
Value cached_conv(Program& p, Value x, Value weight, Value bias, Value state, Value past,
                  Value lanes, ConvForm form);

SFT_KERNEL(void, causal_conv_forward, const Tensor& x, const Tensor& weight, const Tensor& bias,
           const Tensor& table, ConvForm form, Tensor& y);
// The gradients of weight and bias may have no data.
SFT_KERNEL(void, causal_conv_backward, const Tensor& grad_y, const Tensor& x, const Tensor& weight,
           const Tensor& bias, const Tensor& table, ConvForm form, Tensor& grad_x,
           Tensor& grad_weight, bool accumulate_weight, Tensor& grad_bias, bool accumulate_bias);
SFT_KERNEL(void, cached_conv_forward, const Tensor& x, const Tensor& weight, const Tensor& bias,
           const Tensor& past, const Tensor& lanes, ConvForm form, Tensor& state, Tensor& y);

}  // namespace sft
