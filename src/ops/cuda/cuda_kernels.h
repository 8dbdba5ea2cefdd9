// The CUDA kernels of the ops: each does what the function of the same name in namespace cpu is
// documented to do, on device memory, in float32, bfloat16 or float16.
#pragma once

#include "ops/kernels.h"

namespace sft::gpu {

extern const OpKernels kOpKernels;

void document_table(Device& device, const Tensor& documents, const Heads& heads, int64_t tokens,
                    const Tensor& table);
void attention_forward(Device& device, const Tensor& qkv, const Tensor& table,
                       const Attention& options, const Tensor& y, const Tensor& log_sum);
void attention_backward(Device& device, const Tensor& grad_y, const Tensor& qkv, const Tensor& y,
                        const Tensor& log_sum, const Tensor& table, const Attention& options,
                        const Tensor& grad_qkv, const Tensor& workspace);
void cached_attention_forward(Device& device, const Tensor& qkv, const Tensor& cache,
                              const Tensor& past, const Attention& options, const Tensor& y);
void add_noise(Device& device, const Tensor& x, const Tensor& noise, const Tensor& y);
void embedding_forward(Device& device, const Tensor& tokens, const Tensor& weight, float scale,
                       const Tensor& y);
void embedding_backward(Device& device, const Tensor& grad_y, const Tensor& tokens, float scale,
                        int64_t padding, const Tensor& grad_weight, bool accumulate);
void gated_activation_forward(Device& device, const Tensor& gate_up, Activation activation,
                              const Tensor& y);
void gated_activation_backward(Device& device, const Tensor& grad_y, const Tensor& gate_up,
                               Activation activation, const Tensor& grad_gate_up);
void gated_mlp_forward(Device& device, const Tensor& x, const Tensor& weight, Activation activation,
                       const Tensor& gate_up, const Tensor& y);
void gated_mlp_backward(Device& device, const Tensor& grad_y, const Tensor& weight,
                        const Tensor& gate_up, Activation activation, const Tensor& grad_gate_up,
                        const Tensor& workspace);
void gather_rows_forward(Device& device, const Tensor& x, const Tensor& rows, const Tensor& y);
void gather_rows_backward(Device& device, const Tensor& grad_y, const Tensor& rows,
                          const Tensor& grad_x, bool accumulate);
void linear_forward(Device& device, const Tensor& x, const Tensor& weight, const Tensor& bias,
                    float alpha, const Tensor& y, bool accumulate);
void linear_backward_input(Device& device, const Tensor& grad_y, const Tensor& weight, float alpha,
                           const Tensor& grad_x, bool accumulate);
void linear_backward_weight(Device& device, const Tensor& grad_y, const Tensor& x, float alpha,
                            const Tensor& grad_weight, bool accumulate);
void linear_backward_bias(Device& device, const Tensor& grad_y, const Tensor& grad_bias,
                          bool accumulate);
void widen(Device& device, const Tensor& x, const Tensor& y);
void linear_cross_entropy(Device& device, const Tensor& hidden, const Tensor& weight,
                          const Tensor& targets, const Tensor& rows, const Tensor& loss_scale,
                          TokenLoss loss, const Tensor& workspace, const Tensor& row_stats,
                          const Tensor& stats, const Tensor& grad_hidden, const Tensor& grad_weight,
                          bool accumulate_weight);
void qk_norm_forward(Device& device, const Tensor& qkv, const Tensor& query_weight,
                     const Tensor& key_weight, const Heads& heads, const RmsNorm& options,
                     const Tensor& y, const Tensor& rstd);
void qk_norm_backward(Device& device, const Tensor& grad_y, const Tensor& qkv,
                      const Tensor& query_weight, const Tensor& key_weight, const Tensor& rstd,
                      const Heads& heads, const RmsNorm& options, const Tensor& grad_qkv,
                      const Tensor& grad_query_weight, bool accumulate_query,
                      const Tensor& grad_key_weight, bool accumulate_key);
void rmsnorm_forward(Device& device, const Tensor& x, const Tensor& delta, const Tensor& weight,
                     const RmsNorm& options, const Tensor& y, const Tensor& rstd,
                     const Tensor& sum);
void rmsnorm_backward(Device& device, const Tensor& grad_y, const Tensor& x, const Tensor& weight,
                      const Tensor& rstd, const Tensor& grad_sum, const RmsNorm& options,
                      const Tensor& grad_x, const Tensor& grad_weight, bool accumulate_weight);
void rope_table_forward(Device& device, const Tensor& positions, const RopeFrequencies& frequencies,
                        const Tensor& table);
void rope_rotate(Device& device, const Tensor& x, const Tensor& table, const Heads& heads,
                 bool inverse, const Tensor& y);

}  // namespace sft::gpu
