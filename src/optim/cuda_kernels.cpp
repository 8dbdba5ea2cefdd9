#include "optim/cuda_kernels.h"

#include "device/cuda/cuda_device.h"

namespace sft {

const OptimKernels gpu::kOptimKernels{
    .update = gpu::update, .l2_norm = gpu::l2_norm, .whole = gpu::whole};

const OptimKernels* CudaDevice::optim_kernels() const { return &gpu::kOptimKernels; }

}  // namespace sft
