// Attention in bfloat16 or float16 with products on tensor cores (mma.cuh), for compute capability
// 8.0 and up, heads of up to 512 values, windows and soft caps of scores. As in attention_tiled.cuh
// a block keeps a tile of rows (queries, or keys and values) and walks over the others that these
// see; a warp has 16 of its rows, of large heads half of what becomes of them. Sums have a fixed
// order. Dao, "FlashAttention-2" (2023), but with the scores of the backward pass computed for
// queries and for keys apart, so that nothing is added across blocks. Used by attention_cuda.cu
// where neither its Hopper kernels nor cuDNN's take a shape.
#pragma once

#include "device/cuda/capability.h"
#include "ops/cuda/attention_tiled.cuh"
#include "ops/cuda/mma.cuh"

namespace sft::gpu {

// The tiles for heads of at most D values. The backward pass has two tiles of kept rows.
template <int D>
struct MmaPlan {
  static constexpr int kRows = 64, kRowWarps = kRows / 16;
  // Warps that share rows: each computes their scores, and so many values of what they give.
  static constexpr int kShares = D > 256 ? 2 : 1, kPart = D / kShares;
  static constexpr int kThreads = kRowWarps * kShares * 32;
  static constexpr int kForwardColumns = 64, kBackwardColumns = 32;  // walked over at a time
  static constexpr int kStride = D + mma::kTilePad;
  static constexpr size_t kRowBytes = size_t{2} * kStride;
  static constexpr size_t kForwardBytes = kRowBytes * (kRows + 2 * kForwardColumns);
  static constexpr size_t kBackwardBytes = kRowBytes * 2 * (kRows + kBackwardColumns);
  // Whether a warp's registers hold the gradients of keys and of values at the same time.
  static constexpr bool kBothAtOnce = D <= 128;
  // Where a warp's part begins.
  __device__ static int part() { return static_cast<int>(threadIdx.x) / (kRowWarps * 32) * kPart; }
};

// Begins to copy kCount rows of d values into a tile; those from `valid` on, and columns from d on,
// become 0.
template <int D, int kCount, class T>
__device__ inline void copy_tile(const T* x, int64_t stride, int valid, int d, T* tile) {
  constexpr int kPieces = D / 8;  // of 16 bytes
#pragma unroll 4
  for (int n = 0; n < kCount * kPieces / MmaPlan<D>::kThreads; ++n) {
    const int e = static_cast<int>(threadIdx.x) + n * MmaPlan<D>::kThreads;
    const int row = e / kPieces;
    const int column = e % kPieces * 8;
    const bool inside = row < valid && column < d;
    mma::copy_16(tile + row * MmaPlan<D>::kStride + column, inside ? x + row * stride + column : x,
                 inside);
  }
}

// A warp's part of 16 rows times a factor for each of a thread's two, from `t` on of `tokens`, by
// way of its own rows of a tile: `y` is row t, `stride` values before the next.
template <int D, class T>
__device__ inline void store_rows(const mma::Sums (&rows)[MmaPlan<D>::kPart / 8],
                                  const float (&factor)[2], int64_t t, int64_t tokens, int d,
                                  T* own, T* y, int64_t stride) {
  constexpr int kStride = MmaPlan<D>::kStride;
  constexpr int kPart = MmaPlan<D>::kPart;
  const int part = MmaPlan<D>::part();
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int j = 0; j < kPart / 8; ++j) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      T* const to = own + (lane / 4 + half * 8) * kStride + part + j * 8 + lane % 4 * 2;
      *reinterpret_cast<uint32_t*>(to) =
          mma::pack<T>(rows[j][2 * half] * factor[half], rows[j][2 * half + 1] * factor[half]);
    }
  }
  __syncwarp();
  for (int e = lane; e < 16 * (kPart / 8); e += 32) {
    const int row = e / (kPart / 8);
    const int column = part + e % (kPart / 8) * 8;
    if (t + row < tokens && column < d) {
      *reinterpret_cast<uint4*>(y + row * stride + column) =
          *reinterpret_cast<const uint4*>(own + row * kStride + column);
    }
  }
  __syncwarp();
}

// cap tanh(x / cap), to some units in the last place of cap.
__device__ inline float capped_score(const Layout& l, float dot) {
  const float score = dot * l.scale;
  return l.cap > 0.0F ? l.cap * (1.0F - __fdividef(2.0F, 1.0F + __expf(2.0F * score / l.cap)))
                      : score;
}

// Over the four lanes that share a row.
__device__ inline float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffU, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffU, x, 2));
}
__device__ inline float quad_sum(float x) {
  x += __shfl_xor_sync(0xffffffffU, x, 1);
  return x + __shfl_xor_sync(0xffffffffU, x, 2);
}

// What a thread knows of its two rows of a tile.
struct OwnRows {
  int first;  // of the warp
  int low[2], high[2];
  template <int kRows>
  __device__ explicit OwnRows(const Ranges<kRows>& ranges)
      : first(static_cast<int>(threadIdx.x) / 32 % (kRows / 16) * 16) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      low[half] = ranges.low[row(half)];
      high[half] = ranges.high[row(half)];
    }
  }
  __device__ int row(int half) const {
    return first + static_cast<int>(threadIdx.x) % 32 / 4 + half * 8;
  }
  __device__ bool sees(int half, int column) const {
    return column >= low[half] && column < high[half];
  }
};

// The column of a thread's sum e of block j.
__device__ inline int column_of(int j, int e) {
  return j * 8 + static_cast<int>(threadIdx.x) % 4 * 2 + e % 2;
}

template <int D, class T>
__global__ void __launch_bounds__(MmaPlan<D>::kThreads)
    mma_forward_kernel(const T* qkv, const int32_t* start, Layout l, T* y, float* log_sum) {
  using Plan = MmaPlan<D>;
  constexpr int kColumns = Plan::kForwardColumns;
  extern __shared__ float4 tiles[];
  __shared__ Ranges<Plan::kRows> ranges;
  T* const queries = reinterpret_cast<T*>(tiles);
  T* const keys = queries + Plan::kRows * Plan::kStride;
  T* const values = keys + kColumns * Plan::kStride;
  const int64_t first = int64_t{blockIdx.x} * Plan::kRows;
  const int head = static_cast<int>(blockIdx.y);
  const T* const key_rows = qkv + (l.heads + head / l.group()) * l.d;
  const T* const value_rows = key_rows + l.kv_heads * l.d;
  const int valid = find_ranges(start, l, first, false, ranges);
  const int end = valid > 0 ? ranges.high[valid - 1] : 0;
  const OwnRows own(ranges);
  const auto bring = [&](const T* rows, int at, T* tile) {
    copy_tile<D, kColumns>(rows + at * l.row(), l.row(), end - at, l.d, tile);
    mma::commit_copies();
  };
  copy_tile<D, Plan::kRows>(qkv + first * l.row() + head * l.d, l.row(), valid, l.d, queries);
  bring(key_rows, ranges.low[0], keys);
  bring(value_rows, ranges.low[0], values);
  float top[2] = {-INFINITY, -INFINITY};
  float sum[2] = {};  // of the thread's columns
  mma::Sums out[Plan::kPart / 8] = {};
  for (int at = ranges.low[0]; at < end; at += kColumns) {
    mma::wait_copies<1>();
    __syncthreads();
    mma::Sums scores[kColumns / 8];
    mma::dot_rows<D, kColumns>(queries + own.first * Plan::kStride, keys, scores);
    __syncthreads();
    bring(key_rows, min(at + kColumns, end), keys);
    float peak[2] = {-INFINITY, -INFINITY};
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        float& score = scores[j][e];
        score = own.sees(e / 2, at + column_of(j, e)) ? capped_score(l, score) : -INFINITY;
        peak[e / 2] = fmaxf(peak[e / 2], score);
      }
    }
    float base[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float now = fmaxf(top[half], quad_max(peak[half]));
      base[half] = now == -INFINITY ? 0.0F : now;  // a row that has seen nothing yet
      const float shrink = __expf(top[half] - base[half]);
      top[half] = now;
      sum[half] *= shrink;
#pragma unroll
      for (mma::Sums& x : out) {
        x[2 * half] *= shrink;
        x[2 * half + 1] *= shrink;
      }
    }
#pragma unroll
    for (mma::Sums& block : scores) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        block[e] = __expf(block[e] - base[e / 2]);
        sum[e / 2] += block[e];
      }
    }
    mma::wait_copies<1>();
    __syncthreads();
    mma::add_rows<D, kColumns, Plan::kPart>(scores, values + Plan::part(), out);
    __syncthreads();
    bring(value_rows, min(at + kColumns, end), values);
  }
  mma::wait_copies<0>();
  float factor[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float total = quad_sum(sum[half]);
    const bool sees = own.row(half) < valid;
    factor[half] = sees ? 1.0F / total : 0.0F;
    if (sees && threadIdx.x % 4 == 0 && Plan::part() == 0) {
      log_sum[log_sum_at(l, head, first + own.row(half))] = top[half] + logf(total);
    }
  }
  const int64_t t = first + own.first;
  store_rows<D>(out, factor, t, l.tokens, l.d, queries + own.first * Plan::kStride,
                y + (t * l.heads + head) * l.d, int64_t{l.heads} * l.d);
}

// grad_q = the sum over keys of p (grad_p - delta) k, times the scale.
template <int D, class T>
__global__ void __launch_bounds__(MmaPlan<D>::kThreads)
    mma_query_kernel(const T* grad_y, const T* qkv, const float* log_sum, const float* delta,
                     const int32_t* start, Layout l, T* grad_qkv) {
  using Plan = MmaPlan<D>;
  constexpr int kColumns = Plan::kBackwardColumns;
  extern __shared__ float4 tiles[];
  __shared__ Ranges<Plan::kRows> ranges;
  T* const queries = reinterpret_cast<T*>(tiles);
  T* const grads = queries + Plan::kRows * Plan::kStride;
  T* const keys = grads + Plan::kRows * Plan::kStride;
  T* const values = keys + kColumns * Plan::kStride;
  const int64_t first = int64_t{blockIdx.x} * Plan::kRows;
  const int head = static_cast<int>(blockIdx.y);
  const T* const key_rows = qkv + (l.heads + head / l.group()) * l.d;
  const T* const value_rows = key_rows + l.kv_heads * l.d;
  const int valid = find_ranges(start, l, first, false, ranges);
  const int end = valid > 0 ? ranges.high[valid - 1] : 0;
  const OwnRows own(ranges);
  const auto bring = [&](const T* rows, int at, T* tile) {
    copy_tile<D, kColumns>(rows + at * l.row(), l.row(), end - at, l.d, tile);
    mma::commit_copies();
  };
  copy_tile<D, Plan::kRows>(qkv + first * l.row() + head * l.d, l.row(), valid, l.d, queries);
  copy_tile<D, Plan::kRows>(grad_y + (first * l.heads + head) * l.d, int64_t{l.heads} * l.d, valid,
                            l.d, grads);
  bring(value_rows, ranges.low[0], values);
  bring(key_rows, ranges.low[0], keys);
  float row_log[2] = {};
  float row_delta[2] = {};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    if (own.row(half) < valid) {
      row_log[half] = log_sum[log_sum_at(l, head, first + own.row(half))];
      row_delta[half] = delta[log_sum_at(l, head, first + own.row(half))];
    }
  }
  mma::Sums out[Plan::kPart / 8] = {};
  for (int at = ranges.low[0]; at < end; at += kColumns) {
    mma::wait_copies<1>();
    __syncthreads();
    mma::Sums slopes[kColumns / 8];
    mma::dot_rows<D, kColumns>(grads + own.first * Plan::kStride, values, slopes);
    __syncthreads();
    bring(value_rows, min(at + kColumns, end), values);
    mma::wait_copies<1>();
    __syncthreads();
    mma::Sums scores[kColumns / 8];
    mma::dot_rows<D, kColumns>(queries + own.first * Plan::kStride, keys, scores);
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int half = e / 2;
        const float score = capped_score(l, scores[j][e]);
        const float p = __expf(score - row_log[half]) * score_slope(l, score);
        scores[j][e] = own.sees(half, at + column_of(j, e))
                           ? p * (slopes[j][e] - row_delta[half]) * l.scale
                           : 0.0F;
      }
    }
    mma::add_rows<D, kColumns, Plan::kPart>(scores, keys + Plan::part(), out);
    __syncthreads();
    bring(key_rows, min(at + kColumns, end), keys);
  }
  mma::wait_copies<0>();
  const int64_t t = first + own.first;
  store_rows<D>(out, {1.0F, 1.0F}, t, l.tokens, l.d, queries + own.first * Plan::kStride,
                grad_qkv + t * l.row() + head * l.d, l.row());
}

// grad_k, grad_v or both: sums over the queries, of all heads of the group, that see a key.
template <int D, bool kKeys, bool kValues, class T>
__global__ void __launch_bounds__(MmaPlan<D>::kThreads)
    mma_key_kernel(const T* grad_y, const T* qkv, const float* log_sum, const float* delta,
                   const int32_t* start, Layout l, T* grad_qkv) {
  using Plan = MmaPlan<D>;
  constexpr int kColumns = Plan::kBackwardColumns;
  extern __shared__ float4 tiles[];
  __shared__ Ranges<Plan::kRows> ranges;
  __shared__ float column_log[kColumns];
  __shared__ float column_delta[kColumns];
  T* const keys = reinterpret_cast<T*>(tiles);
  T* const values = keys + Plan::kRows * Plan::kStride;
  T* const queries = values + Plan::kRows * Plan::kStride;
  T* const grads = queries + kColumns * Plan::kStride;
  const int64_t first = int64_t{blockIdx.x} * Plan::kRows;
  const int kv = static_cast<int>(blockIdx.y);
  const int64_t key_at = int64_t{l.heads + kv} * l.d;
  const int64_t value_at = key_at + int64_t{l.kv_heads} * l.d;
  const int valid = find_ranges(start, l, first, true, ranges);
  const int end = valid > 0 ? ranges.high[valid - 1] : 0;
  const OwnRows own(ranges);
  copy_tile<D, Plan::kRows>(qkv + first * l.row() + key_at, l.row(), valid, l.d, keys);
  if constexpr (kKeys) {
    copy_tile<D, Plan::kRows>(qkv + first * l.row() + value_at, l.row(), valid, l.d, values);
  }
  [[maybe_unused]] mma::Sums grad_k[kKeys ? Plan::kPart / 8 : 1] = {};
  [[maybe_unused]] mma::Sums grad_v[kValues ? Plan::kPart / 8 : 1] = {};
  for (int head = kv * l.group(); head < (kv + 1) * l.group(); ++head) {
    for (int at = ranges.low[0]; at < end; at += kColumns) {
      __syncthreads();
      copy_tile<D, kColumns>(qkv + at * l.row() + head * l.d, l.row(), end - at, l.d, queries);
      copy_tile<D, kColumns>(grad_y + (int64_t{at} * l.heads + head) * l.d, int64_t{l.heads} * l.d,
                             end - at, l.d, grads);
      mma::commit_copies();
      if (threadIdx.x < kColumns) {
        const int64_t t = at + static_cast<int>(threadIdx.x);
        column_log[threadIdx.x] = t < end ? log_sum[log_sum_at(l, head, t)] : 0.0F;
        column_delta[threadIdx.x] = t < end ? delta[log_sum_at(l, head, t)] : 0.0F;
      }
      mma::wait_copies<0>();
      __syncthreads();
      mma::Sums scores[kColumns / 8];
      [[maybe_unused]] mma::Sums slopes[kColumns / 8];
      mma::dot_rows<D, kColumns>(keys + own.first * Plan::kStride, queries, scores);
      if constexpr (kKeys) {
        mma::dot_rows<D, kColumns>(values + own.first * Plan::kStride, grads, slopes);
      }
#pragma unroll
      for (int j = 0; j < kColumns / 8; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int column = column_of(j, e);
          const bool sees = own.sees(e / 2, at + column);
          const float score = capped_score(l, scores[j][e]);
          const float p = __expf(score - column_log[column]);
          if constexpr (kKeys) {
            const float ds = (slopes[j][e] - column_delta[column]) * score_slope(l, score);
            slopes[j][e] = sees ? p * ds * l.scale : 0.0F;
          }
          scores[j][e] = sees ? p : 0.0F;
        }
      }
      if constexpr (kValues) {
        mma::add_rows<D, kColumns, Plan::kPart>(scores, grads + Plan::part(), grad_v);
      }
      if constexpr (kKeys) {
        mma::add_rows<D, kColumns, Plan::kPart>(slopes, queries + Plan::part(), grad_k);
      }
    }
  }
  mma::wait_copies<0>();
  __syncthreads();
  const int64_t t = first + own.first;
  T* const way_out = keys + own.first * Plan::kStride;
  if constexpr (kKeys) {
    store_rows<D>(grad_k, {1.0F, 1.0F}, t, l.tokens, l.d, way_out, grad_qkv + t * l.row() + key_at,
                  l.row());
  }
  if constexpr (kValues) {
    store_rows<D>(grad_v, {1.0F, 1.0F}, t, l.tokens, l.d, way_out,
                  grad_qkv + t * l.row() + value_at, l.row());
  }
}

// Calls f with the plan for heads of d values where the card has such products and the memory.
template <class F>
bool with_mma_plan(const CudaDevice& gpu, int d, const F& f) {
  const auto attempt = [&](auto width) {
    using Plan = MmaPlan<decltype(width)::value>;
    constexpr size_t kStatic = 2048;  // ranges, and a column's numbers
    const size_t most = std::max(Plan::kForwardBytes, Plan::kBackwardBytes);
    if (most + kStatic > static_cast<size_t>(gpu.shared_memory())) {
      return false;
    }
    f(width);
    return true;
  };
  return capability_of(gpu.ordinal()) >= 80 && d % 8 == 0 &&
         (d <= 64    ? attempt(std::integral_constant<int, 64>{})
          : d <= 128 ? attempt(std::integral_constant<int, 128>{})
          : d <= 256 ? attempt(std::integral_constant<int, 256>{})
                     : attempt(std::integral_constant<int, 512>{}));
}

// False, and nothing done, where they do not take the shape or the card.
template <class T>
bool mma_forward(CudaDevice& gpu, const T* qkv, const int32_t* start, const Layout& l, T* y,
                 float* log_sum) {
  return with_mma_plan(gpu, l.d, [&](auto width) {
    using Plan = MmaPlan<decltype(width)::value>;
    const auto tiles = static_cast<unsigned>((l.tokens + Plan::kRows - 1) / Plan::kRows);
    const auto kernel = mma_forward_kernel<decltype(width)::value, T>;
    allow_shared(kernel, Plan::kForwardBytes);
    kernel<<<dim3(tiles, static_cast<unsigned>(l.heads)), Plan::kThreads, Plan::kForwardBytes,
             gpu.stream()>>>(qkv, start, l, y, log_sum);
    check_cuda(cudaGetLastError(), "attention");
  });
}

// `delta` has room for a float for each token and head.
template <class T>
bool mma_backward(CudaDevice& gpu, const T* grad_y, const T* qkv, const T* y, const float* log_sum,
                  const int32_t* start, const Layout& l, float* delta, T* grad_qkv) {
  return with_mma_plan(gpu, l.d, [&](auto width) {
    constexpr int D = decltype(width)::value;
    using Plan = MmaPlan<D>;
    const int64_t rows = l.tokens * l.heads;
    tiled_delta_kernel<<<static_cast<unsigned>((rows + 7) / 8), 256, 0, gpu.stream()>>>(
        grad_y, y, rows, l.d, delta);
    const auto tiles = static_cast<unsigned>((l.tokens + Plan::kRows - 1) / Plan::kRows);
    const auto run = [&](auto* kernel, int heads) {
      allow_shared(kernel, Plan::kBackwardBytes);
      kernel<<<dim3(tiles, static_cast<unsigned>(heads)), Plan::kThreads, Plan::kBackwardBytes,
               gpu.stream()>>>(grad_y, qkv, log_sum, delta, start, l, grad_qkv);
    };
    run(mma_query_kernel<D, T>, l.heads);
    if constexpr (Plan::kBothAtOnce) {
      run(mma_key_kernel<D, true, true, T>, l.kv_heads);
    } else {
      run(mma_key_kernel<D, true, false, T>, l.kv_heads);
      run(mma_key_kernel<D, false, true, T>, l.kv_heads);
    }
    check_cuda(cudaGetLastError(), "attention.backward");
  });
}

}  // namespace sft::gpu
