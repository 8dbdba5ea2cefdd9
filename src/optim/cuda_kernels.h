// The optimizer's CUDA kernels; see optim/kernels.h.
#pragma once

#include "optim/kernels.h"

namespace sft::gpu {

extern const OptimKernels kOptimKernels;

void update(Device& device, const UpdateCall& call);
double l2_norm(Device& device, const float* x, int64_t n);
void whole(Device& device, WholeStep step, const WholeTensor& tensor, const WholeScalars& scalars,
           std::byte* workspace);

}  // namespace sft::gpu
