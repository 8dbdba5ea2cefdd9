// What row-wise kernels share: sums of columns in a fixed order.
#pragma once

#include "device/cuda/cuda_device.h"
#include "device/cuda/vec.cuh"

namespace sft {

// out (n) (+)= the sums over `parts` rows of partial (parts, n).
void column_sums(CudaDevice& device, const float* partial, int64_t parts, int64_t n, float* out,
                 bool accumulate);

// A vector of a row of `n` values at column `i`; rows are on 16 bytes when `aligned`.
template <class T>
__device__ inline Vec load_row(const T* row, int64_t i, int64_t n, bool aligned) {
  return aligned ? load_vec(row + i) : load_some(row + i, n - i);
}
template <class T>
__device__ inline Packed<T> load_packed(const T* row, int64_t i, int64_t n, bool aligned) {
  if (aligned) {
    return *reinterpret_cast<const Packed<T>*>(row + i);
  }
  return pack<T>(load_some(row + i, n - i));
}
template <class T>
__device__ inline void store_row(T* row, int64_t i, int64_t n, bool aligned, const Vec& x) {
  if (aligned) {
    store_vec(row + i, x);
  } else {
    store_some(row + i, x, n - i);
  }
}

}  // namespace sft
