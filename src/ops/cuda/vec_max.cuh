// Largest magnitudes, of which scales are made. Used by kernels that quantise.
#pragma once

#include "device/cuda/vec.cuh"

namespace sft {

__device__ inline float largest(const Vec& x) {
  float most = 0.0F;
#pragma unroll
  for (int i = 0; i < kVec; ++i) {
    most = fmaxf(most, fabsf(x.v[i]));
  }
  return most;
}

// Of all threads of a block; every thread gets it.
template <int kThreads>
__device__ inline float block_max(float x) {
  __shared__ float of_warp[kThreads / 32];
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffU, x, lane));
  }
  if (threadIdx.x % 32 == 0) {
    of_warp[threadIdx.x / 32] = x;
  }
  __syncthreads();
  float most = of_warp[0];
#pragma unroll
  for (int i = 1; i < kThreads / 32; ++i) {
    most = fmaxf(most, of_warp[i]);
  }
  __syncthreads();  // before the next call
  return most;
}

}  // namespace sft
