// The table of the optimizer's CUDA kernels, and how the device finds it.
#include "optim/kernels.h"

#include "device/cuda/cuda_device.h"

namespace sft {

const OptimKernels* CudaDevice::optim_kernels() const {
  static constexpr OptimKernels kCuda{SFT_OPTIM_KERNELS(SFT_GPU_KERNEL)};
  return &kCuda;
}

}  // namespace sft
