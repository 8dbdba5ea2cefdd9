// Kernels of a recorded chain that begin while the one before them ends (programmatic dependent
// launch). Used where a step is made of many short ones.
#pragma once

#include "device/cuda/cuda_device.h"

namespace sft {

// From here on the kernel behind this one may be given room. It reads nothing that this one writes
// before it has called wait_for_previous.
__device__ inline void let_next_begin() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// Everything that earlier kernels wrote can be read from here on, and what they read be written.
// Every block calls it, so that this kernel's end is also the end of those before it.
__device__ inline void wait_for_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Asks for the 128 bytes around p to be brought into the second level's cache.
__device__ inline void bring_near(const void* p) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
}

// Launches a kernel that calls both. Only in a recording, whose first kernel begins after all that
// came before it: weights are then read without waiting.
template <class... Parameters, class... Arguments>
void launch_in_chain(const CudaDevice& gpu, void (*kernel)(Parameters...), dim3 grid, int threads,
                     size_t shared, const Arguments&... arguments) {
  cudaLaunchAttribute overlap{};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared;
  config.stream = gpu.stream();
  config.attrs = &overlap;
  config.numAttrs = gpu.hopper() && gpu.recording() ? 1 : 0;
  check_cuda(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...),
             "launching a kernel");
}

}  // namespace sft
