// What libsft_cuda.so gives to the program. The library is loaded when a GPU is first asked for, so
// that the same program starts at once where there is none.
#pragma once

#include "device/device.h"

namespace sft {

// Its one entry. Fails with G020.
using OpenCuda = Device* (*)(int ordinal, int threads, const char* cache_folder);
constexpr const char* kOpenCuda = "sft_open_cuda";

// Another of its functions, by name; null when the library cannot be used or has none.
void* cuda_symbol(const char* name);

}  // namespace sft
