// Products of small matrices by one block of threads, on tensor cores in 16 bits and by threads in
// float32: for kernels whose tiles change shape from step to step. Sizes are multiples of 16.
#pragma once

#include <mma.h>

#include <type_traits>

#include "device/cuda/vec.cuh"

namespace sft {

// A matrix with rows of `stride` numbers.
template <class T>
struct Matrix {
  T* at;
  int stride;

  __device__ T& operator()(int row, int column) const { return at[row * stride + column]; }
  __device__ Matrix from_column(int column) const { return {at + column, stride}; }
};

// In shared memory rows begin in different banks: a few numbers lie between them.
constexpr int kTileGap = 8;

// An operand: a matrix, or its transpose.
template <class T>
struct Tile {
  const T* at;
  int stride;
  bool transposed;

  __device__ float operator()(int row, int column) const {
    return widen(transposed ? at[column * stride + row] : at[row * stride + column]);
  }
};
template <class T>
__device__ inline Tile<T> plain(const Matrix<T>& m) {
  return {m.at, m.stride, false};
}
template <class T>
__device__ inline Tile<T> turned(const Matrix<T>& m) {
  return {m.at, m.stride, true};
}

namespace tile_product_detail {

// A warp takes kDown x kAcross squares of 16 x 16 at a time, which share what they read.
template <class T, bool kTurnedA, bool kTurnedB, int kDown, int kAcross>
__device__ inline void in_squares(const Tile<T>& a, const Tile<T>& b, int rows, int columns,
                                  int depth, const Matrix<float>& c, bool add) {
// Older cards have none for bfloat16.
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  using namespace nvcuda;
  using OrderA = std::conditional_t<kTurnedA, wmma::col_major, wmma::row_major>;
  using OrderB = std::conditional_t<kTurnedB, wmma::col_major, wmma::row_major>;
  const int warps = static_cast<int>(blockDim.x) / 32;
  const int across = columns / (16 * kAcross);
  const auto stride = static_cast<unsigned>(c.stride);
  for (int unit = static_cast<int>(threadIdx.x) / 32; unit < rows / (16 * kDown) * across;
       unit += warps) {
    const int row = unit / across * 16 * kDown;
    const int column = unit % across * 16 * kAcross;
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> sums[kDown][kAcross];
#pragma unroll
    for (int i = 0; i < kDown; ++i) {
#pragma unroll
      for (int j = 0; j < kAcross; ++j) {
        if (add) {
          wmma::load_matrix_sync(sums[i][j], &c(row + 16 * i, column + 16 * j), stride,
                                 wmma::mem_row_major);
        } else {
          wmma::fill_fragment(sums[i][j], 0.0F);
        }
      }
    }
    // Operands may lie in the device's memory: some are on their way while others are multiplied.
#pragma unroll 4
    for (int k = 0; k < depth; k += 16) {
      wmma::fragment<wmma::matrix_a, 16, 16, 16, T, OrderA> left[kDown];
      wmma::fragment<wmma::matrix_b, 16, 16, 16, T, OrderB> right[kAcross];
#pragma unroll
      for (int i = 0; i < kDown; ++i) {
        const int at = row + 16 * i;
        wmma::load_matrix_sync(left[i], a.at + (kTurnedA ? k * a.stride + at : at * a.stride + k),
                               static_cast<unsigned>(a.stride));
      }
#pragma unroll
      for (int j = 0; j < kAcross; ++j) {
        const int at = column + 16 * j;
        wmma::load_matrix_sync(right[j], b.at + (kTurnedB ? at * b.stride + k : k * b.stride + at),
                               static_cast<unsigned>(b.stride));
      }
#pragma unroll
      for (int i = 0; i < kDown; ++i) {
#pragma unroll
        for (int j = 0; j < kAcross; ++j) {
          wmma::mma_sync(sums[i][j], left[i], right[j], sums[i][j]);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kDown; ++i) {
#pragma unroll
      for (int j = 0; j < kAcross; ++j) {
        wmma::store_matrix_sync(&c(row + 16 * i, column + 16 * j), sums[i][j], stride,
                                wmma::mem_row_major);
      }
    }
  }
#endif
}

template <class T, bool kTurnedA, bool kTurnedB>
__device__ inline void on_tensor_cores(const Tile<T>& a, const Tile<T>& b, int rows, int columns,
                                       int depth, const Matrix<float>& c, bool add) {
  const int warps = static_cast<int>(blockDim.x) / 32;
  if (rows % 32 == 0 && columns % 32 == 0 && rows / 32 * (columns / 32) >= warps) {
    in_squares<T, kTurnedA, kTurnedB, 2, 2>(a, b, rows, columns, depth, c, add);
  } else if (columns % 32 == 0 && rows / 16 * (columns / 32) >= warps) {
    in_squares<T, kTurnedA, kTurnedB, 1, 2>(a, b, rows, columns, depth, c, add);
  } else {
    in_squares<T, kTurnedA, kTurnedB, 1, 1>(a, b, rows, columns, depth, c, add);
  }
}

template <class T>
__device__ inline void by_threads(const Tile<T>& a, const Tile<T>& b, int rows, int columns,
                                  int depth, const Matrix<float>& c, bool add) {
  for (int i = static_cast<int>(threadIdx.x); i < rows * columns;
       i += static_cast<int>(blockDim.x)) {
    const int row = i / columns;
    const int column = i % columns;
    float sum = add ? c(row, column) : 0.0F;
    for (int k = 0; k < depth; ++k) {
      sum += a(row, k) * b(k, column);
    }
    c(row, column) = sum;
  }
}

template <class T>
constexpr bool has_tensor_cores() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  return false;
#else
  return sizeof(T) == 2;
#endif
}

}  // namespace tile_product_detail

// c (rows, columns) = a (rows, depth) b (depth, columns), or is added to. All threads of a block of
// one dimension call it, and a barrier follows before c is read or a and b are written.
template <class T>
__device__ inline void tile_product(const Tile<T>& a, const Tile<T>& b, int rows, int columns,
                                    int depth, const Matrix<float>& c, bool add = false) {
  namespace detail = tile_product_detail;
  if constexpr (!detail::has_tensor_cores<T>()) {
    detail::by_threads(a, b, rows, columns, depth, c, add);
  } else if (a.transposed && b.transposed) {
    detail::on_tensor_cores<T, true, true>(a, b, rows, columns, depth, c, add);
  } else if (a.transposed) {
    detail::on_tensor_cores<T, true, false>(a, b, rows, columns, depth, c, add);
  } else if (b.transposed) {
    detail::on_tensor_cores<T, false, true>(a, b, rows, columns, depth, c, add);
  } else {
    detail::on_tensor_cores<T, false, false>(a, b, rows, columns, depth, c, add);
  }
}

}  // namespace sft
