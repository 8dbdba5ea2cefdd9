#include "ops/kernels.h"

namespace sft {

namespace {

constexpr OpKernels kCpu{
    .document_table = cpu::document_table,
    .attention_forward = cpu::attention_forward,
    .attention_backward = cpu::attention_backward,
    .cached_attention_forward = cpu::cached_attention_forward,
    .add_noise = cpu::add_noise,
    .embedding_forward = cpu::embedding_forward,
    .embedding_backward = cpu::embedding_backward,
    .gated_activation_forward = cpu::gated_activation_forward,
    .gated_activation_backward = cpu::gated_activation_backward,
    .gated_mlp_forward = cpu::gated_mlp_forward,
    .gated_mlp_backward = cpu::gated_mlp_backward,
    .gather_rows_forward = cpu::gather_rows_forward,
    .gather_rows_backward = cpu::gather_rows_backward,
    .linear_forward = cpu::linear_forward,
    .linear_backward_input = cpu::linear_backward_input,
    .linear_backward_weight = cpu::linear_backward_weight,
    .linear_backward_bias = cpu::linear_backward_bias,
    .widen = cpu::widen,
    .linear_cross_entropy = cpu::linear_cross_entropy,
    .qk_norm_forward = cpu::qk_norm_forward,
    .qk_norm_backward = cpu::qk_norm_backward,
    .rmsnorm_forward = cpu::rmsnorm_forward,
    .rmsnorm_backward = cpu::rmsnorm_backward,
    .rope_table_forward = cpu::rope_table_forward,
    .rope_rotate = cpu::rope_rotate,
};

}  // namespace

const OpKernels& kernels(const Run& r) {
  const OpKernels* own = r.device().op_kernels();
  return own != nullptr ? *own : kCpu;
}

}  // namespace sft
