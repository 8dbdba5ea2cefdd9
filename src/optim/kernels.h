// The optimizer's kernels of a kind of device; see ops/kernels.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "device/device.h"
#include "optim/block8.h"
#include "optim/state_layout.h"

namespace sft {

// The scalars of one AdamW update, made in double and used in float as torch does: 1 - beta2 in
// float would be off by 1e-5.
struct AdamWUpdate {
  float clip, beta1, one_minus_beta1, beta2, one_minus_beta2;
  float decay;       // what weights with weight decay are multiplied by
  float step_size;   // rate / (1 - beta1^t)
  float correction;  // 1 / sqrt(1 - beta2^t)
  float epsilon;
  uint64_t seed, step;  // of stochastic rounding
};

// One update of elements [begin, end) of the layout, whole tiles all. Weights, gradients and the
// copy begin at element `begin`; states are those of the optimizer's whole range.
struct AdamWCall {
  int64_t begin, end;
  void* weights;
  DType weight_type;  // f32, or bf16, which is rounded stochastically
  const float* gradients;
  void* copy;  // what matmuls read, in `copy_type`; may be null
  DType copy_type;
  const StateSegment* segments;  // on the device; sorted, without gaps
  int segment_count;
  std::byte *first, *second;            // states
  float *first_scales, *second_scales;  // of 8-bit blocks
  const block8::Book* books;            // of both moments, on the device; null without such blocks
  AdamWUpdate update;
};

struct OptimKernels {
  void (*adamw)(Device& device, const AdamWCall& call);
  double (*l2_norm)(Device& device, const float* x, int64_t n);
};

namespace cpu {
void adamw(Device& device, const AdamWCall& call);
// float32 within a chunk, double across; the same for any number of threads.
double l2_norm(Device& device, const float* x, int64_t n);
}  // namespace cpu

}  // namespace sft
