// Attention in float32 arithmetic on tiles in shared memory, for any GPU and any floating type: a
// block keeps a tile of rows (queries, or keys and values) and walks over the others that these
// see. Four rows and every 16th column of a tile of scores belong to a thread. Sums have a fixed
// order. Used by attention_cuda.cu where neither its own Hopper kernels nor cuDNN's take a shape.
#pragma once

#include <algorithm>
#include <type_traits>

#include "device/cuda/cuda_device.h"
#include "device/cuda/vec.cuh"
#include "ops/cuda/attention_layout.cuh"

namespace sft::gpu {

// The tiles for heads of at most D values.
template <int D>
struct TiledPlan {
  static constexpr int kRows = D <= 64 ? 64 : 32;      // that a block keeps
  static constexpr int kColumns = D <= 128 ? 32 : 16;  // that it walks over at a time
  static constexpr int kThreads = kRows / 4 * 16;
  static constexpr int kEach = kColumns / 16;        // columns of a thread
  static constexpr int kStride = D + 4;              // of rows: 16 lanes hit different banks
  static constexpr int kScoreStride = kColumns + 4;  // likewise
  static constexpr int kKept = kRows * kStride;      // floats of each tile
  static constexpr int kWalked = kColumns * kStride;
  static constexpr int kScores = kRows * kScoreStride;
  static constexpr size_t kForwardBytes = sizeof(float) * (kKept + 2 * kWalked + kScores);
  static constexpr size_t kBackwardBytes = sizeof(float) * (2 * kKept + 2 * kWalked + kScores);
};

// Which columns each row of a tile sees: [low, high), both rising with the row.
template <int kRows>
struct Ranges {
  int low[kRows], high[kRows];
};

// For rows from `first` on; those after the last document see nothing. Returns how many do.
template <int kRows>
__device__ int find_ranges(const int32_t* start, const Layout& l, int64_t first, bool of_keys,
                           Ranges<kRows>& ranges) {
  const int64_t left = start[l.documents] - first;
  const int valid = static_cast<int>(left < 0 ? 0 : left < kRows ? left : kRows);
  for (int r = static_cast<int>(threadIdx.x); r < kRows; r += static_cast<int>(blockDim.x)) {
    const int64_t t = first + r;
    int64_t low = 0;
    int64_t high = 0;
    if (r < valid) {
      const Document doc = document_of(start, l, t);
      low = of_keys ? t : doc.begin;
      high = of_keys ? doc.end : t + 1;
      if (l.window > 0 && of_keys && high > t + l.window) {
        high = t + l.window;
      } else if (l.window > 0 && !of_keys && low < t - l.window + 1) {
        low = t - l.window + 1;
      }
    }
    ranges.low[r] = static_cast<int>(low);
    ranges.high[r] = static_cast<int>(high);
  }
  __syncthreads();
  return valid;
}

// kCount rows of d values into a tile; those from `valid` on, and columns from d on, become 0.
template <int D, int kCount, class T>
__device__ void load_tile(const T* x, int64_t stride, int64_t valid, int d, float* tile) {
  constexpr int kThreads = TiledPlan<D>::kThreads;
#pragma unroll 8
  for (int n = 0; n < kCount * D / kThreads; ++n) {
    const int e = static_cast<int>(threadIdx.x) + n * kThreads;
    const int row = e / D;
    const int column = e % D;
    tile[row * TiledPlan<D>::kStride + column] =
        row < valid && column < d ? sft::widen(x[row * stride + column]) : 0.0F;
  }
}

// scores[i][j] = row 4 ty + i of `kept` . row tx + 16 j of `walked`
template <int D>
__device__ void multiply(const float* kept, const float* walked,
                         float (&scores)[4][TiledPlan<D>::kEach]) {
  using Plan = TiledPlan<D>;
  const int tx = static_cast<int>(threadIdx.x) % 16;
  const int ty = static_cast<int>(threadIdx.x) / 16;
#pragma unroll
  for (auto& row : scores) {
#pragma unroll
    for (float& score : row) {
      score = 0.0F;
    }
  }
#pragma unroll 4
  for (int k = 0; k < D; k += 4) {
    float4 x[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      x[i] = *reinterpret_cast<const float4*>(kept + (4 * ty + i) * Plan::kStride + k);
    }
#pragma unroll
    for (int j = 0; j < Plan::kEach; ++j) {
      const auto z = *reinterpret_cast<const float4*>(walked + (tx + 16 * j) * Plan::kStride + k);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        scores[i][j] += x[i].x * z.x + x[i].y * z.y + x[i].z * z.z + x[i].w * z.w;
      }
    }
  }
}

// A thread's columns of a result: 4 tx to 4 tx + 3 of each 64.
template <int D>
using TiledRows = float[4][D / 16];

// A thread's scores to where those that share its rows, lanes of one warp, can read them.
template <int D>
__device__ void share_scores(const float (&scores)[4][TiledPlan<D>::kEach], float* shared) {
  const int tx = static_cast<int>(threadIdx.x) % 16;
  const int ty = static_cast<int>(threadIdx.x) / 16;
  __syncwarp();
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < TiledPlan<D>::kEach; ++j) {
      shared[(4 * ty + i) * TiledPlan<D>::kScoreStride + tx + 16 * j] = scores[i][j];
    }
  }
  __syncwarp();
}

// A thread's scores of queries from `first` on and keys from `at` on, times what dropout says of
// them; zeros stay.
template <int D>
__device__ void drop_scores(const PairDropout& dropped, int64_t first, int at, int head,
                            float (&scores)[4][TiledPlan<D>::kEach]) {
  if (dropped.rate == 0.0F) {
    return;
  }
  const int tx = static_cast<int>(threadIdx.x) % 16;
  const int ty = static_cast<int>(threadIdx.x) / 16;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < TiledPlan<D>::kEach; ++j) {
      if (scores[i][j] != 0.0F) {
        scores[i][j] *= dropped.factor(first + 4 * ty + i, at + tx + 16 * j, head);
      }
    }
  }
}

// out[i] += the rows of `walked`, times row 4 ty + i of `scores`
template <int D>
__device__ void add_weighted(const float* scores, const float* walked, TiledRows<D>& out) {
  using Plan = TiledPlan<D>;
  const int tx = static_cast<int>(threadIdx.x) % 16;
  const int ty = static_cast<int>(threadIdx.x) / 16;
#pragma unroll 2
  for (int k = 0; k < Plan::kColumns; k += 4) {
    float weight[4][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const auto w =
          *reinterpret_cast<const float4*>(scores + (4 * ty + i) * Plan::kScoreStride + k);
      weight[i][0] = w.x, weight[i][1] = w.y, weight[i][2] = w.z, weight[i][3] = w.w;
    }
#pragma unroll
    for (int u = 0; u < 4; ++u) {
#pragma unroll
      for (int g = 0; g < D / 64; ++g) {
        const auto x =
            *reinterpret_cast<const float4*>(walked + (k + u) * Plan::kStride + 64 * g + 4 * tx);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          out[i][4 * g] += weight[i][u] * x.x;
          out[i][4 * g + 1] += weight[i][u] * x.y;
          out[i][4 * g + 2] += weight[i][u] * x.z;
          out[i][4 * g + 3] += weight[i][u] * x.w;
        }
      }
    }
  }
}

// Row i of the thread's, times factor, to d values at `y`.
template <int D, class T>
__device__ void store_tile_row(const float (&row)[D / 16], float factor, int d, T* y) {
  const int tx = static_cast<int>(threadIdx.x) % 16;
#pragma unroll
  for (int k = 0; k < D / 16; ++k) {
    const int column = k / 4 * 64 + 4 * tx + k % 4;
    if (column < d) {
      y[column] = narrow<T>(row[k] * factor);
    }
  }
}

// Over the 16 lanes that share a row.
__device__ inline float row_max(float x) {
#pragma unroll
  for (int lane = 8; lane > 0; lane /= 2) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffU, x, lane));
  }
  return x;
}
__device__ inline float row_sum(float x) {
#pragma unroll
  for (int lane = 8; lane > 0; lane /= 2) {
    x += __shfl_xor_sync(0xffffffffU, x, lane);
  }
  return x;
}

template <int D, class T>
__global__ void __launch_bounds__(TiledPlan<D>::kThreads)
    tiled_forward_kernel(const T* qkv, const int32_t* start, Layout l, PairDropout dropped, T* y,
                         float* log_sum) {
  using Plan = TiledPlan<D>;
  extern __shared__ float4 tiles[];
  __shared__ Ranges<Plan::kRows> ranges;
  float* const queries = reinterpret_cast<float*>(tiles);
  float* const keys = queries + Plan::kKept;
  float* const values = keys + Plan::kWalked;
  float* const shared_scores = values + Plan::kWalked;
  const int tx = static_cast<int>(threadIdx.x) % 16;
  const int ty = static_cast<int>(threadIdx.x) / 16;
  const int64_t first = int64_t{blockIdx.x} * Plan::kRows;
  const int head = static_cast<int>(blockIdx.y);
  const T* const key_rows = qkv + (l.heads + head / l.group()) * l.d;
  const int valid = find_ranges(start, l, first, false, ranges);
  const int end = valid > 0 ? ranges.high[valid - 1] : 0;
  load_tile<D, Plan::kRows>(qkv + first * l.row() + head * l.d, l.row(), valid, l.d, queries);
  float top[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
  LongSum sum[4];
  LongSum out[4][D / 16];
  for (int at = ranges.low[0]; at < end; at += Plan::kColumns) {
    __syncthreads();
    const T* const rows = key_rows + at * l.row();
    load_tile<D, Plan::kColumns>(rows, l.row(), end - at, l.d, keys);
    load_tile<D, Plan::kColumns>(rows + l.kv_heads * l.d, l.row(), end - at, l.d, values);
    __syncthreads();
    float scores[4][Plan::kEach];
    multiply<D>(queries, keys, scores);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int low = ranges.low[4 * ty + i];
      const int high = ranges.high[4 * ty + i];
      float peak = -INFINITY;
#pragma unroll
      for (int j = 0; j < Plan::kEach; ++j) {
        const int key = at + tx + 16 * j;
        scores[i][j] = key >= low && key < high ? score_of(l, scores[i][j]) : -INFINITY;
        peak = fmaxf(peak, scores[i][j]);
      }
      const float now = fmaxf(top[i], row_max(peak));
      const float shrink = top[i] == now ? 1.0F : __expf(top[i] - now);
      float mine = 0.0F;
#pragma unroll
      for (int j = 0; j < Plan::kEach; ++j) {
        scores[i][j] = scores[i][j] == -INFINITY ? 0.0F : __expf(scores[i][j] - now);
        mine += scores[i][j];
      }
      top[i] = now;
      sum[i].scale(shrink);
      sum[i].add(row_sum(mine));
#pragma unroll
      for (LongSum& x : out[i]) {
        x.scale(shrink);
      }
    }
    drop_scores<D>(dropped, first, at, head, scores);
    share_scores<D>(scores, shared_scores);
    TiledRows<D> some = {};  // of this tile's keys
    add_weighted<D>(shared_scores, values, some);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int k = 0; k < D / 16; ++k) {
        out[i][k].add(some[i][k]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int64_t t = first + 4 * ty + i;
    if (t < l.tokens) {
      const bool sees = 4 * ty + i < valid;
      float row[D / 16];
#pragma unroll
      for (int k = 0; k < D / 16; ++k) {
        row[k] = out[i][k].total();
      }
      store_tile_row<D>(row, sees ? 1.0F / sum[i].total() : 0.0F, l.d,
                        y + (t * l.heads + head) * l.d);
      if (sees && tx == 0) {
        log_sum[log_sum_at(l, head, t)] = top[i] + logf(sum[i].total());
      }
    }
  }
}

// delta = grad_y . y, for each row and head; a warp takes one.
template <class T>
__global__ void tiled_delta_kernel(const T* grad_y, const T* y, int64_t rows, int d, float* delta) {
  const int64_t row = int64_t{blockIdx.x} * (blockDim.x / 32) + threadIdx.x / 32;
  if (row >= rows) {
    return;
  }
  float sum = 0.0F;
  for (int i = static_cast<int>(threadIdx.x % 32); i < d; i += 32) {
    sum += sft::widen(grad_y[row * d + i]) * sft::widen(y[row * d + i]);
  }
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) {
    delta[row] = sum;
  }
}

// grad_q = the sum over keys of p (grad_p - delta) k, times the scale.
template <int D, class T>
__global__ void __launch_bounds__(TiledPlan<D>::kThreads)
    tiled_query_kernel(const T* grad_y, const T* qkv, const float* log_sum, const float* delta,
                       const int32_t* start, Layout l, PairDropout dropped, T* grad_qkv) {
  using Plan = TiledPlan<D>;
  extern __shared__ float4 tiles[];
  __shared__ Ranges<Plan::kRows> ranges;
  float* const queries = reinterpret_cast<float*>(tiles);
  float* const grads = queries + Plan::kKept;
  float* const keys = grads + Plan::kKept;
  float* const values = keys + Plan::kWalked;
  float* const shared_scores = values + Plan::kWalked;
  const int tx = static_cast<int>(threadIdx.x) % 16;
  const int ty = static_cast<int>(threadIdx.x) / 16;
  const int64_t first = int64_t{blockIdx.x} * Plan::kRows;
  const int head = static_cast<int>(blockIdx.y);
  const T* const key_rows = qkv + (l.heads + head / l.group()) * l.d;
  const int valid = find_ranges(start, l, first, false, ranges);
  const int end = valid > 0 ? ranges.high[valid - 1] : 0;
  load_tile<D, Plan::kRows>(qkv + first * l.row() + head * l.d, l.row(), valid, l.d, queries);
  load_tile<D, Plan::kRows>(grad_y + (first * l.heads + head) * l.d, int64_t{l.heads} * l.d, valid,
                            l.d, grads);
  float row_log[4] = {};
  float row_delta[4] = {};
  for (int i = 0; i < 4; ++i) {
    if (4 * ty + i < valid) {
      row_log[i] = log_sum[log_sum_at(l, head, first + 4 * ty + i)];
      row_delta[i] = delta[log_sum_at(l, head, first + 4 * ty + i)];
    }
  }
  TiledRows<D> out = {};
  for (int at = ranges.low[0]; at < end; at += Plan::kColumns) {
    __syncthreads();
    const T* const rows = key_rows + at * l.row();
    load_tile<D, Plan::kColumns>(rows, l.row(), end - at, l.d, keys);
    load_tile<D, Plan::kColumns>(rows + l.kv_heads * l.d, l.row(), end - at, l.d, values);
    __syncthreads();
    float scores[4][Plan::kEach];
    float slopes[4][Plan::kEach];
    multiply<D>(queries, keys, scores);
    multiply<D>(grads, values, slopes);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int low = ranges.low[4 * ty + i];
      const int high = ranges.high[4 * ty + i];
#pragma unroll
      for (int j = 0; j < Plan::kEach; ++j) {
        const int key = at + tx + 16 * j;
        const bool sees = key >= low && key < high;
        const float score = score_of(l, scores[i][j]);
        const float p = __expf(score - row_log[i]) * score_slope(l, score);
        const float kept = sees ? dropped.factor(first + 4 * ty + i, key, head) : 0.0F;
        scores[i][j] = sees ? p * (kept * slopes[i][j] - row_delta[i]) * l.scale : 0.0F;
      }
    }
    share_scores<D>(scores, shared_scores);
    add_weighted<D>(shared_scores, keys, out);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int64_t t = first + 4 * ty + i;
    if (t < l.tokens) {
      store_tile_row<D>(out[i], 1.0F, l.d, grad_qkv + t * l.row() + head * l.d);
    }
  }
}

// grad_k and grad_v: sums over the queries, of all heads of the group, that see a key.
template <int D, class T>
__global__ void __launch_bounds__(TiledPlan<D>::kThreads)
    tiled_key_kernel(const T* grad_y, const T* qkv, const float* log_sum, const float* delta,
                     const int32_t* start, Layout l, PairDropout dropped, T* grad_qkv) {
  using Plan = TiledPlan<D>;
  extern __shared__ float4 tiles[];
  __shared__ Ranges<Plan::kRows> ranges;
  __shared__ float column_log[Plan::kColumns];
  __shared__ float column_delta[Plan::kColumns];
  float* const keys = reinterpret_cast<float*>(tiles);
  float* const values = keys + Plan::kKept;
  float* const queries = values + Plan::kKept;
  float* const grads = queries + Plan::kWalked;
  float* const shared_scores = grads + Plan::kWalked;
  const int tx = static_cast<int>(threadIdx.x) % 16;
  const int ty = static_cast<int>(threadIdx.x) / 16;
  const int64_t first = int64_t{blockIdx.x} * Plan::kRows;
  const int kv = static_cast<int>(blockIdx.y);
  const int64_t key_at = int64_t{l.heads + kv} * l.d;
  const int64_t value_at = key_at + int64_t{l.kv_heads} * l.d;
  const int valid = find_ranges(start, l, first, true, ranges);
  const int end = valid > 0 ? ranges.high[valid - 1] : 0;
  load_tile<D, Plan::kRows>(qkv + first * l.row() + key_at, l.row(), valid, l.d, keys);
  load_tile<D, Plan::kRows>(qkv + first * l.row() + value_at, l.row(), valid, l.d, values);
  TiledRows<D> grad_k = {};
  TiledRows<D> grad_v = {};
  for (int head = kv * l.group(); head < (kv + 1) * l.group(); ++head) {
    for (int at = ranges.low[0]; at < end; at += Plan::kColumns) {
      __syncthreads();
      load_tile<D, Plan::kColumns>(qkv + at * l.row() + head * l.d, l.row(), end - at, l.d,
                                   queries);
      load_tile<D, Plan::kColumns>(grad_y + (int64_t{at} * l.heads + head) * l.d,
                                   int64_t{l.heads} * l.d, end - at, l.d, grads);
      if (threadIdx.x < Plan::kColumns) {
        const int64_t t = at + static_cast<int>(threadIdx.x);
        column_log[threadIdx.x] = t < end ? log_sum[log_sum_at(l, head, t)] : 0.0F;
        column_delta[threadIdx.x] = t < end ? delta[log_sum_at(l, head, t)] : 0.0F;
      }
      __syncthreads();
      float scores[4][Plan::kEach];
      float slopes[4][Plan::kEach];
      multiply<D>(keys, queries, scores);
      multiply<D>(values, grads, slopes);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int low = ranges.low[4 * ty + i];
        const int high = ranges.high[4 * ty + i];
#pragma unroll
        for (int j = 0; j < Plan::kEach; ++j) {
          const int query = at + tx + 16 * j;
          const bool sees = query >= low && query < high;
          const float score = score_of(l, scores[i][j]);
          const float p = __expf(score - column_log[tx + 16 * j]);
          const float kept = sees ? dropped.factor(query, first + 4 * ty + i, head) : 0.0F;
          const float ds =
              (kept * slopes[i][j] - column_delta[tx + 16 * j]) * score_slope(l, score);
          scores[i][j] = sees ? kept * p : 0.0F;
          slopes[i][j] = sees ? p * ds * l.scale : 0.0F;
        }
      }
      share_scores<D>(scores, shared_scores);
      add_weighted<D>(shared_scores, grads, grad_v);
      share_scores<D>(slopes, shared_scores);
      add_weighted<D>(shared_scores, queries, grad_k);
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int64_t t = first + 4 * ty + i;
    if (t < l.tokens) {
      store_tile_row<D>(grad_k[i], 1.0F, l.d, grad_qkv + t * l.row() + key_at);
      store_tile_row<D>(grad_v[i], 1.0F, l.d, grad_qkv + t * l.row() + value_at);
    }
  }
}

// Calls f with the plan for heads of d values if there is one, and its tiles fit into the card's
// shared memory.
template <class F>
bool with_tiled_plan(const CudaDevice& gpu, int d, bool backward, const F& f) {
  const auto attempt = [&](auto width) {
    constexpr int D = decltype(width)::value;
    constexpr size_t kStatic = 2048;  // ranges, and a column's numbers
    const size_t bytes = backward ? TiledPlan<D>::kBackwardBytes : TiledPlan<D>::kForwardBytes;
    if (bytes + kStatic > static_cast<size_t>(gpu.shared_memory())) {
      return false;
    }
    f(width, bytes);
    return true;
  };
  return d <= 64    ? attempt(std::integral_constant<int, 64>{})
         : d <= 128 ? attempt(std::integral_constant<int, 128>{})
         : d <= 256 ? attempt(std::integral_constant<int, 256>{})
                    : false;
}

template <class Kernel>
void allow_shared(Kernel* kernel, size_t bytes) {
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(bytes)),
             "attention");
}

// False, and nothing done, where the tiles do not fit into shared memory.
template <class T>
bool tiled_forward(CudaDevice& gpu, const T* qkv, const int32_t* start, const Layout& l,
                   const PairDropout& dropped, T* y, float* log_sum) {
  return with_tiled_plan(gpu, l.d, false, [&](auto width, size_t bytes) {
    using Plan = TiledPlan<decltype(width)::value>;
    const auto tiles = static_cast<unsigned>((l.tokens + Plan::kRows - 1) / Plan::kRows);
    const auto kernel = tiled_forward_kernel<decltype(width)::value, T>;
    allow_shared(kernel, bytes);
    kernel<<<dim3(tiles, static_cast<unsigned>(l.heads)), Plan::kThreads, bytes, gpu.stream()>>>(
        qkv, start, l, dropped, y, log_sum);
    check_cuda(cudaGetLastError(), "attention");
  });
}

// `delta` has room for a float for each token and head.
template <class T>
bool tiled_backward(CudaDevice& gpu, const T* grad_y, const T* qkv, const T* y,
                    const float* log_sum, const int32_t* start, const Layout& l,
                    const PairDropout& dropped, float* delta, T* grad_qkv) {
  return with_tiled_plan(gpu, l.d, true, [&](auto width, size_t bytes) {
    using Plan = TiledPlan<decltype(width)::value>;
    const int64_t rows = l.tokens * l.heads;
    tiled_delta_kernel<<<static_cast<unsigned>((rows + 7) / 8), 256, 0, gpu.stream()>>>(
        grad_y, y, rows, l.d, delta);
    const auto tiles = static_cast<unsigned>((l.tokens + Plan::kRows - 1) / Plan::kRows);
    const auto of_queries = tiled_query_kernel<decltype(width)::value, T>;
    allow_shared(of_queries, bytes);
    of_queries<<<dim3(tiles, static_cast<unsigned>(l.heads)), Plan::kThreads, bytes,
                 gpu.stream()>>>(grad_y, qkv, log_sum, delta, start, l, dropped, grad_qkv);
    const auto of_keys = tiled_key_kernel<decltype(width)::value, T>;
    allow_shared(of_keys, bytes);
    of_keys<<<dim3(tiles, static_cast<unsigned>(l.kv_heads)), Plan::kThreads, bytes,
              gpu.stream()>>>(grad_y, qkv, log_sum, delta, start, l, dropped, grad_qkv);
    check_cuda(cudaGetLastError(), "attention.backward");
  });
}

}  // namespace sft::gpu
