// The compute capability that is chosen for. Used inside libsft_cuda.so.
#pragma once

namespace sft {

// 10 * major + minor; of a test build at most what it was built to pass for (SFT_CUDA_AT_MOST=70).
int capability_of(int ordinal);

}  // namespace sft
