#include <algorithm>

#include "ops/cuda/rows.cuh"
#include "ops/split_columns.h"

namespace sft::gpu {

namespace {

constexpr int kThreads = 256;

// The column of x that column `to` of y is.
__device__ inline int64_t column_of(const ColumnRuns& runs, int64_t to) {
#pragma unroll
  for (int i = 0; i < ColumnRuns::kMost; ++i) {
    const ColumnRun& run = runs.run[i];
    if (to < run.columns()) {
      return run.from + to / run.width * run.stride + to % run.width;
    }
    to -= run.columns();
  }
  return 0;
}

// A block takes a row; kWidth values at a time lie in one stretch of both.
template <class T, int kWidth, bool kPut>
__global__ void columns_kernel(const T* from, ColumnRuns runs, int64_t x_columns, int64_t y_columns,
                               T* to) {
  const int64_t x_row = int64_t{blockIdx.x} * x_columns;
  const int64_t y_row = int64_t{blockIdx.x} * y_columns;
  for (int64_t i = int64_t{threadIdx.x} * kWidth; i < y_columns; i += int64_t{kThreads} * kWidth) {
    const int64_t x_at = x_row + column_of(runs, i);
    const int64_t y_at = y_row + i;
    if constexpr (kWidth == kVec) {
      if constexpr (kPut) {
        store_vec(to + x_at, from != nullptr ? load_vec(from + y_at) : Vec{});
      } else {
        store_vec(to + y_at, load_vec(from + x_at));
      }
    } else if constexpr (kPut) {
      to[x_at] = from != nullptr ? from[y_at] : narrow<T>(0.0F);
    } else {
      to[y_at] = from[x_at];
    }
  }
}

bool whole_vectors(const ColumnRuns& runs, int64_t x_columns) {
  return x_columns % kVec == 0 && std::ranges::all_of(runs.run, [](const ColumnRun& r) {
           return r.from % kVec == 0 && r.width % kVec == 0 && r.stride % kVec == 0;
         });
}

template <bool kPut>
void launch(Device& device, const Tensor& from, const ColumnRuns& runs, int64_t x_columns,
            Tensor& to) {
  with_type(to.dtype, [&](auto type) {
    using T = decltype(type);
    const auto kernel =
        whole_vectors(runs, x_columns) ? columns_kernel<T, kVec, kPut> : columns_kernel<T, 1, kPut>;
    kernel<<<static_cast<unsigned>(to.shape[0]), kThreads, 0, cuda(device).stream()>>>(
        from.as<T>(), runs, x_columns, runs.columns(), to.as<T>());
  });
  check_cuda(cudaGetLastError(), "split_columns");
}

}  // namespace

void take_columns(Device& device, const Tensor& x, const ColumnRuns& runs, Tensor& y) {
  launch<false>(device, x, runs, x.shape[1], y);
}

void put_columns(Device& device, const Tensor& y, const ColumnRuns& runs, Tensor& x) {
  launch<true>(device, y, runs, x.shape[1], x);
}

}  // namespace sft::gpu
