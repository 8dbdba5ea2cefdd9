// The kernels of a kind of device, one table each. The CPU's are the specification that the others
// are tested against; an instruction finds the table of the device it runs on.
#pragma once

#include "ops/add_noise.h"
#include "ops/attention.h"
#include "ops/embedding.h"
#include "ops/gated_activation.h"
#include "ops/gated_mlp.h"
#include "ops/gather_rows.h"
#include "ops/linear.h"
#include "ops/linear_cross_entropy.h"
#include "ops/qk_norm.h"
#include "ops/rmsnorm.h"
#include "ops/rope.h"

namespace sft {

// Each entry does what the function of the same name in namespace cpu is documented to do.
struct OpKernels {
  decltype(&cpu::document_table) document_table;
  decltype(&cpu::attention_forward) attention_forward;
  decltype(&cpu::attention_backward) attention_backward;
  decltype(&cpu::cached_attention_forward) cached_attention_forward;
  decltype(&cpu::add_noise) add_noise;
  decltype(&cpu::embedding_forward) embedding_forward;
  decltype(&cpu::embedding_backward) embedding_backward;
  decltype(&cpu::gated_activation_forward) gated_activation_forward;
  decltype(&cpu::gated_activation_backward) gated_activation_backward;
  decltype(&cpu::gated_mlp_forward) gated_mlp_forward;
  decltype(&cpu::gated_mlp_backward) gated_mlp_backward;
  decltype(&cpu::gather_rows_forward) gather_rows_forward;
  decltype(&cpu::gather_rows_backward) gather_rows_backward;
  decltype(&cpu::linear_forward) linear_forward;
  decltype(&cpu::linear_backward_input) linear_backward_input;
  decltype(&cpu::linear_backward_weight) linear_backward_weight;
  decltype(&cpu::linear_backward_bias) linear_backward_bias;
  decltype(&cpu::widen) widen;
  decltype(&cpu::linear_cross_entropy) linear_cross_entropy;
  decltype(&cpu::qk_norm_forward) qk_norm_forward;
  decltype(&cpu::qk_norm_backward) qk_norm_backward;
  decltype(&cpu::rmsnorm_forward) rmsnorm_forward;
  decltype(&cpu::rmsnorm_backward) rmsnorm_backward;
  decltype(&cpu::rope_table_forward) rope_table_forward;
  decltype(&cpu::rope_rotate) rope_rotate;
};

const OpKernels& kernels(const Run& r);

}  // namespace sft
