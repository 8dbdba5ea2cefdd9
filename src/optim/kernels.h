// The optimizer's kernels of a kind of device; see ops/kernels.h.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "device/device.h"

namespace sft {

// The scalars of one AdamW update, made in double and used in float as torch does: 1 - beta2 in
// float would be off by 1e-5.
struct AdamWUpdate {
  float clip, one_minus_beta1, beta2, one_minus_beta2, decay, step_size, correction, epsilon;
};

// A stretch of the flat buffers, `n` elements each. `copy` is what matmuls read, in `copy_type`;
// null when that is the weights themselves.
struct AdamWSlice {
  float* weights;
  const float* gradients;
  float *first, *second;
  void* copy;
  DType copy_type;
  int64_t n;
};

struct OptimKernels {
  void (*adamw)(Device& device, const AdamWSlice& slice, const AdamWUpdate& update);
  double (*l2_norm)(Device& device, const float* x, int64_t n);
};

namespace cpu {
void adamw(Device& device, const AdamWSlice& slice, const AdamWUpdate& update);
// float32 within a chunk, double across; the same for any number of threads.
double l2_norm(Device& device, const float* x, int64_t n);
}  // namespace cpu

}  // namespace sft
