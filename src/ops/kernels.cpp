#include "ops/kernels.h"

namespace sft {

namespace {

constexpr OpKernels kCpu{SFT_OP_KERNELS(SFT_CPU_KERNEL)};

}  // namespace

const OpKernels& kernels(const Run& r) {
  const OpKernels* own = r.device().op_kernels();
  return own != nullptr ? *own : kCpu;
}

}  // namespace sft
