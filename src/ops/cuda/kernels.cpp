// The table of CUDA kernels, and how the device finds it.
#include "ops/kernels.h"

#include "device/cuda/cuda_device.h"

namespace sft {

const OpKernels* CudaDevice::op_kernels() const {
  static constexpr OpKernels kCuda{SFT_OP_KERNELS(SFT_GPU_KERNEL)};
  return &kCuda;
}

}  // namespace sft
