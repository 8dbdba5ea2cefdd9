// A function of the driver by name, of the form that CUDA 12.0 gave it; the driver is not linked.
// Used by what the runtime has no call for.
#pragma once

#include <cuda_runtime.h>

namespace sft {

// False when the driver has none.
inline bool driver_function(const char* name, void** function) {
  cudaDriverEntryPointQueryResult found{};
#if CUDART_VERSION >= 12050
  const cudaError_t result =
      cudaGetDriverEntryPointByVersion(name, function, 12000, cudaEnableDefault, &found);
#else  // the version is that of the toolkit
  const cudaError_t result = cudaGetDriverEntryPoint(name, function, cudaEnableDefault, &found);
#endif
  return result == cudaSuccess && found == cudaDriverEntryPointSuccess && *function != nullptr;
}

}  // namespace sft
