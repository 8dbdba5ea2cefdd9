// The tables of CUDA kernels, and how the device finds them.
#include "ops/cuda/cuda_kernels.h"

#include "device/cuda/cuda_device.h"

namespace sft {

const OpKernels gpu::kOpKernels{
    .document_table = gpu::document_table,
    .attention_forward = gpu::attention_forward,
    .attention_backward = gpu::attention_backward,
    .cached_attention_forward = gpu::cached_attention_forward,
    .add_noise = gpu::add_noise,
    .embedding_forward = gpu::embedding_forward,
    .embedding_backward = gpu::embedding_backward,
    .gated_activation_forward = gpu::gated_activation_forward,
    .gated_activation_backward = gpu::gated_activation_backward,
    .gated_mlp_forward = gpu::gated_mlp_forward,
    .gated_mlp_backward = gpu::gated_mlp_backward,
    .gather_rows_forward = gpu::gather_rows_forward,
    .gather_rows_backward = gpu::gather_rows_backward,
    .linear_forward = gpu::linear_forward,
    .linear_backward_input = gpu::linear_backward_input,
    .linear_backward_weight = gpu::linear_backward_weight,
    .linear_backward_bias = gpu::linear_backward_bias,
    .widen = gpu::widen,
    .linear_cross_entropy = gpu::linear_cross_entropy,
    .qk_norm_forward = gpu::qk_norm_forward,
    .qk_norm_backward = gpu::qk_norm_backward,
    .rmsnorm_forward = gpu::rmsnorm_forward,
    .rmsnorm_backward = gpu::rmsnorm_backward,
    .rope_table_forward = gpu::rope_table_forward,
    .rope_rotate = gpu::rope_rotate,
};

const OpKernels* CudaDevice::op_kernels() const { return &gpu::kOpKernels; }

}  // namespace sft
