// Finding a token's document in the document_table (ops/attention.h), and what lies after the last.
#pragma once

#include "device/cuda/vec.cuh"

namespace sft {

// The last of `count` documents that starts at or before token t: the one that holds it, where any
// does.
__device__ inline int document_of(const int32_t* starts, int count, int64_t t) {
  int low = 0;
  int high = count;  // starts[high] > t, or high is the end
  while (low + 1 < high) {
    const int middle = (low + high) / 2;
    if (starts[middle] <= t) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

// Rows of y from the end of the last document on become 0; a block for each row of y.
template <class T>
__global__ void zero_after_kernel(const int32_t* starts, int count, int64_t n, T* y) {
  if (static_cast<int64_t>(blockIdx.x) < starts[count]) {
    return;
  }
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    y[int64_t{blockIdx.x} * n + i] = narrow<T>(0.0F);
  }
}

}  // namespace sft
