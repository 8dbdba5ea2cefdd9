#include "ops/kernels.h"

namespace sft {

namespace {

constexpr OpKernels kCpu{SFT_OP_KERNELS(SFT_CPU_KERNEL)};

}  // namespace

const OpKernels& kernels(const Device& device) {
  const OpKernels* own = device.op_kernels();
  return own != nullptr ? *own : kCpu;
}

const OpKernels& kernels(const Run& r) { return kernels(r.device()); }

}  // namespace sft
