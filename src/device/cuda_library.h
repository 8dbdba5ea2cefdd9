// What libsft_cuda.so gives to the program. The library is loaded when a GPU is first asked for, so
// that the same program starts at once where there is none. Packages have one for CUDA 13 and one
// for CUDA 12; the driver decides.
#pragma once

#include <string>
#include <vector>

#include "device/device.h"

namespace sft {

// Its one entry. Fails with G020.
using OpenCuda = Device* (*)(int ordinal, int threads, const char* cache_folder);
constexpr const char* kOpenCuda = "sft_open_cuda";

// A library of the CUDA half, as it was met: a build from source has one, a package may have one
// for each major version of CUDA.
struct CudaHalf {
  std::string file;       // libsft_cuda13.so
  std::string path{};     // "" when it is nowhere
  std::string why_not{};  // it is not the one that runs; "" for that one
};

// In the order of preference; the last are not tried when one before them runs.
const std::vector<CudaHalf>& cuda_halves();

// The newest CUDA that the driver can run, as 1000 * major + 10 * minor; 0 without a driver.
int cuda_of_driver();

// 10 * major + minor of a GPU's compute capability; 0 where no library runs.
int cuda_capability(int ordinal);

// Another of its functions, by name; null when the library cannot be used or has none.
void* cuda_symbol(const char* name);

}  // namespace sft
