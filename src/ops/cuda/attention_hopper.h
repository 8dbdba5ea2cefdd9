// Attention for compute capability 9.0 and bfloat16, forward and backward, the same bits each time.
// Used by attention_cuda.cu. Heads of 64 and 128 values.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "ops/attention.h"

namespace sft {

class HopperAttention {
 public:
  // `table`: that of document_table, on the device.
  HopperAttention(cudaStream_t stream, int multiprocessors, const Attention& options,
                  int64_t tokens, const Tensor& table);

  static bool takes(const Heads& heads);

  // What document_table adds for these kernels: for each of them the tiles of all documents, those
  // that see most first. See attention_table_values.
  static void list_tiles(cudaStream_t stream, const Heads& heads, int64_t tokens, int64_t documents,
                         int32_t* table);

  // As cpu::attention_forward and cpu::attention_backward; log_sum (tokens, heads), workspace
  // (tokens, heads, 2).
  void forward(const Tensor& qkv, Tensor& y, Tensor& log_sum) const;
  void backward(const Tensor& grad_y, const Tensor& qkv, const Tensor& y, const Tensor& log_sum,
                Tensor& grad_qkv, Tensor& workspace) const;

 private:
  cudaStream_t stream_;
  int multiprocessors_;
  const Attention& options_;
  int64_t tokens_, documents_;
  const int32_t* table_;
};

}  // namespace sft
