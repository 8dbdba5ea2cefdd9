// The table of the optimizer's CUDA kernels, and how the device finds it.
#include "device/cuda/cuda_device.h"
#include "optim/kernels.h"

namespace sft {

const OptimKernels* CudaDevice::optim_kernels() const {
  static constexpr OptimKernels kCuda{SFT_OPTIM_KERNELS(SFT_GPU_KERNEL)};
  return &kCuda;
}

}  // namespace sft
