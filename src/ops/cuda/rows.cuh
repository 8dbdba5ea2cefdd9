// What row-wise kernels share: sums of columns in a fixed order, copies of rows.
#pragma once

#include <algorithm>

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

// Row i of y = row i of x (or is added to it), where i stands for from[i] and to[i] where these are
// given. A negative `from` is a row of zeros; nothing goes to a negative `to`.
template <class T, bool kAdd>
__global__ void copy_rows_kernel(const T* x, const int32_t* from, int64_t n, T* y,
                                 const int32_t* to) {
  const bool aligned = n % kVec == 0;
  const int64_t source = from != nullptr ? from[blockIdx.x] : int64_t{blockIdx.x};
  const int64_t target = to != nullptr ? to[blockIdx.x] : int64_t{blockIdx.x};
  if (target < 0) {
    return;
  }
  for (int64_t i = int64_t{threadIdx.x} * kVec; i < n; i += int64_t{blockDim.x} * kVec) {
    Vec value{};
    if (source >= 0) {
      value = load_row(x + source * n, i, n, aligned);
    }
    if constexpr (kAdd) {
      const Vec before = load_row(y + target * n, i, n, aligned);
#pragma unroll
      for (int k = 0; k < kVec; ++k) {
        value.v[k] += before.v[k];
      }
    }
    store_row(y + target * n, i, n, aligned, value);
  }
}

// `rows` rows of `n` values, on the device's stream.
template <class T>
void copy_rows(CudaDevice& device, int64_t rows, int64_t n, const T* x, const int32_t* from, T* y,
               const int32_t* to, bool add = false) {
  if (rows == 0) {
    return;
  }
  const int threads = static_cast<int>(std::min<int64_t>(256, (n / kVec + 32) / 32 * 32));
  const auto kernel = add ? copy_rows_kernel<T, true> : copy_rows_kernel<T, false>;
  kernel<<<static_cast<unsigned>(rows), threads, 0, device.stream()>>>(x, from, n, y, to);
}

}  // namespace sft
