// The list of the ops' kernels, which are declared beside their ops (device/kernel.h), and the
// table that it gives each kind of device; an instruction finds the table of the device it runs on.
#pragma once

#include "ops/add_noise.h"
#include "ops/add_scaled.h"
#include "ops/attention.h"
#include "ops/attention_sinks.h"
#include "ops/cache_rows.h"
#include "ops/causal_conv.h"
#include "ops/clamped_glu.h"
#include "ops/dora.h"
#include "ops/dropout.h"
#include "ops/embedding.h"
#include "ops/embedding_lora.h"
#include "ops/expert_scales.h"
#include "ops/experts.h"
#include "ops/few_rows.h"
#include "ops/fp8_linear.h"
#include "ops/gated_activation.h"
#include "ops/gated_delta.h"
#include "ops/gated_mlp.h"
#include "ops/gated_norm.h"
#include "ops/gather_rows.h"
#include "ops/int8_linear.h"
#include "ops/layer_norm.h"
#include "ops/linear.h"
#include "ops/linear_cross_entropy.h"
#include "ops/lora.h"
#include "ops/next_token.h"
#include "ops/pack.h"
#include "ops/plain_activation.h"
#include "ops/qk_norm.h"
#include "ops/rmsnorm.h"
#include "ops/rope.h"
#include "ops/router.h"
#include "ops/scaled_sum.h"
#include "ops/sigmoid_gate.h"
#include "ops/soft_cap.h"
#include "ops/split_columns.h"
#include "ops/step_attention.h"

namespace sft {

#define SFT_OP_KERNELS(KERNEL)      \
  KERNEL(document_table)            \
  KERNEL(attention_forward)         \
  KERNEL(attention_backward)        \
  KERNEL(attention_workspace)       \
  KERNEL(balance_loss)              \
  KERNEL(cache_rows)                \
  KERNEL(cached_attention_forward)  \
  KERNEL(cached_conv_forward)       \
  KERNEL(cached_delta_forward)      \
  KERNEL(causal_conv_forward)       \
  KERNEL(causal_conv_backward)      \
  KERNEL(add_noise)                 \
  KERNEL(add_scaled)                \
  KERNEL(add_sinks)                 \
  KERNEL(clamped_glu_forward)       \
  KERNEL(clamped_glu_backward)      \
  KERNEL(column_dots)               \
  KERNEL(dora_gain)                 \
  KERNEL(dora_gain_backward)        \
  KERNEL(dora_mix)                  \
  KERNEL(dora_mix_backward)         \
  KERNEL(dropout)                   \
  KERNEL(embedding_forward)         \
  KERNEL(embedding_backward)        \
  KERNEL(expert_load)               \
  KERNEL(expert_scales_forward)     \
  KERNEL(expert_scales_backward)    \
  KERNEL(few_rows_product)          \
  KERNEL(fp8_columns)               \
  KERNEL(fp8_product)               \
  KERNEL(fp8_rounded)               \
  KERNEL(fp8_rows)                  \
  KERNEL(fp8_transposed)            \
  KERNEL(from_experts_backward)     \
  KERNEL(gated_activation_forward)  \
  KERNEL(gated_activation_backward) \
  KERNEL(gated_delta_forward)       \
  KERNEL(gated_delta_backward)      \
  KERNEL(gated_mlp_forward)         \
  KERNEL(gated_mlp_backward)        \
  KERNEL(gated_norm_forward)        \
  KERNEL(gated_norm_backward)       \
  KERNEL(gather_columns)            \
  KERNEL(gather_rows_forward)       \
  KERNEL(gather_rows_backward)      \
  KERNEL(grouped_bias)              \
  KERNEL(grouped_bias_backward)     \
  KERNEL(grouped_outer)             \
  KERNEL(grouped_product)           \
  KERNEL(int8_rows)                 \
  KERNEL(int8_linear)               \
  KERNEL(layer_norm_forward)        \
  KERNEL(layer_norm_backward)       \
  KERNEL(linear_forward)            \
  KERNEL(linear_backward_input)     \
  KERNEL(linear_backward_weight)    \
  KERNEL(linear_backward_bias)      \
  KERNEL(widen)                     \
  KERNEL(linear_cross_entropy)      \
  KERNEL(lora_up)                   \
  KERNEL(lora_up_backward_input)    \
  KERNEL(lora_up_backward_weight)   \
  KERNEL(next_token)                \
  KERNEL(pack)                      \
  KERNEL(plain_activation_forward)  \
  KERNEL(plain_activation_backward) \
  KERNEL(put_columns)               \
  KERNEL(qk_norm_forward)           \
  KERNEL(qk_norm_backward)          \
  KERNEL(rmsnorm_forward)           \
  KERNEL(rmsnorm_backward)          \
  KERNEL(rope_table_forward)        \
  KERNEL(rope_rotate)               \
  KERNEL(row_squares)               \
  KERNEL(route_forward)             \
  KERNEL(route_backward)            \
  KERNEL(scale_columns)             \
  KERNEL(scaled_sum)                \
  KERNEL(sigmoid_gate_forward)      \
  KERNEL(sigmoid_gate_backward)     \
  KERNEL(sinks_backward)            \
  KERNEL(soft_cap)                  \
  KERNEL(sort_by_expert)            \
  KERNEL(split_by_expert)           \
  KERNEL(split_by_expert_backward)  \
  KERNEL(step_attention_forward)    \
  KERNEL(sum_slots)                 \
  KERNEL(take_columns)              \
  KERNEL(transpose)

struct OpKernels {
  SFT_OP_KERNELS(SFT_KERNEL_ENTRY)
};

const OpKernels& kernels(const Run& r);
const OpKernels& kernels(const Device& device);

}  // namespace sft
