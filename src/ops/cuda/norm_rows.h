// The root-mean-square norm's kernels on rows that need not lie one behind the other: rmsnorm, and
// qk_norm of all heads together.
#pragma once

#include "device/cuda/cuda_device.h"
#include "ops/rmsnorm.h"

namespace sft::gpu {

// `rows` rows of `n` values, `ld` values from one to the next; weight (n).
template <class T>
struct NormRows {
  const T* x;
  const float* weight;
  int64_t rows, n, ld;
};

// As rmsnorm_forward and rmsnorm_backward; y, sum, grad_y, grad_sum and grad_x are laid out as x.
template <class T>
void norm_rows(CudaDevice& gpu, const NormRows<T>& r, const RmsNorm& options, const T* delta, T* y,
               float* rstd, T* sum);
template <class T>
void norm_rows_backward(CudaDevice& gpu, const NormRows<T>& r, const RmsNorm& options,
                        const T* grad_y, const float* rstd, const T* grad_sum, T* grad_x,
                        float* grad_weight, bool accumulate_weight);

}  // namespace sft::gpu
