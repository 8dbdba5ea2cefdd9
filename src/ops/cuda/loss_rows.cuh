// What the loss asks of a row of logits, and the kernel for compute capability 9.0 that reads and
// writes each logit once: the blocks of a cluster share a row and hold it in shared memory. Used by
// linear_cross_entropy_cuda.cu.
#pragma once

#include <cooperative_groups.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "device/cuda/cuda_device.h"
#include "device/cuda/vec.cuh"
#include "ops/cuda/hopper.cuh"
#include "ops/linear_cross_entropy.h"

namespace sft {

// A chunk of logits, (rows, vocab) with `ld` between rows, and where what is known of them goes.
template <class T>
struct LossRows {
  T* logits;
  int64_t ld, vocab;
  const int32_t *targets, *rows;
  const float* loss_scale;
  bool dft, wants_gradient;
  LossStats* stats;        // (rows)
  float cap = 0.0F;        // of the logits: cap tanh(logit / cap); 0: none
  float smoothing = 0.0F;  // where there is a cap: its gradient must pass through that
};

// Logits as the loss sees them.
__device__ inline float capped(float x, float cap) { return cap > 0.0F ? cap * tanhf(x / cap) : x; }
__device__ inline Vec capped(Vec x, float cap) {
  if (cap > 0.0F) {
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      x.v[j] = capped(x.v[j], cap);
    }
  }
  return x;
}

// What a thread has seen of a row: the largest logit and where it stood first, the sum of
// e^(x - top) and of e^(x - top) x.
struct Seen {
  float top = -INFINITY;
  int at = INT32_MAX;
  LongSum sum, weighted;
};

__device__ inline Seen merge(const Seen& a, const Seen& b) {
  Seen out;
  out.top = fmaxf(a.top, b.top);
  out.at = a.top == b.top ? min(a.at, b.at) : (a.top > b.top ? a.at : b.at);
  const float x = a.sum.value == 0.0F ? 0.0F : __expf(a.top - out.top);
  const float y = b.sum.value == 0.0F ? 0.0F : __expf(b.top - out.top);
  out.sum = {a.sum.total() * x + b.sum.total() * y};
  out.weighted = {a.weighted.total() * x + b.weighted.total() * y};
  return out;
}

// `x`: the values from column i on; those at and beyond column n do not count.
__device__ inline void see(Seen& seen, Vec x, int i, int n) {
  float top = -INFINITY;
#pragma unroll
  for (int j = 0; j < kVec; ++j) {
    x.v[j] = i + j < n ? x.v[j] : -INFINITY;
    top = fmaxf(top, x.v[j]);
  }
  if (top > seen.top) {  // seldom, after the first few
    const float shrink = __expf(seen.top - top);
    seen.sum.scale(shrink);
    seen.weighted.scale(shrink);
    seen.top = top;
#pragma unroll
    for (int j = kVec - 1; j >= 0; --j) {
      seen.at = x.v[j] == top ? i + j : seen.at;
    }
  }
  float sum = 0.0F;
  float weighted = 0.0F;
#pragma unroll
  for (int j = 0; j < kVec; ++j) {
    const float e = __expf(x.v[j] - seen.top);
    sum += e;
    weighted += i + j < n ? e * x.v[j] : 0.0F;
  }
  seen.sum.add(sum);
  seen.weighted.add(weighted);
}

template <int kThreads>
__device__ inline Seen block_merge(Seen mine) {
  __shared__ Seen shared[kThreads / 32];
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) {
    Seen other;
    other.top = __shfl_xor_sync(0xffffffffU, mine.top, lane);
    other.at = __shfl_xor_sync(0xffffffffU, mine.at, lane);
    other.sum = {__shfl_xor_sync(0xffffffffU, mine.sum.total(), lane)};
    other.weighted = {__shfl_xor_sync(0xffffffffU, mine.weighted.total(), lane)};
    mine = merge(mine, other);
  }
  if (threadIdx.x % 32 == 0) {
    shared[threadIdx.x / 32] = mine;
  }
  __syncthreads();
  Seen all = shared[0];
  for (int w = 1; w < kThreads / 32; ++w) {
    all = merge(all, shared[w]);
  }
  return all;
}

struct RowLoss {
  LossStats stats;
  float weight;  // of the row's gradient
};

// `logit`: the target's.
__device__ inline RowLoss row_loss(const Seen& all, float logit, int target, bool dft) {
  const float log_sum = logf(all.sum.total());
  const float log_p = logit - all.top - log_sum;
  const float weight = dft ? expf(log_p) : 1.0F;
  const float entropy = log_sum + all.top - all.weighted.total() / all.sum.total();
  // A logit that is not finite must show in the loss wherever it stands.
  const float loss = isfinite(entropy) ? -weight * log_p : NAN;
  return {{loss, all.at == target ? 1.0F : 0.0F, entropy, 1.0F}, weight};
}

// The loss's gradient by the logits from column i on.
template <class T>
__device__ inline Vec loss_gradient(const LossRows<T>& w, Vec x, int i, int target, float top,
                                    float per_sum, float scale) {
  if (w.cap > 0.0F) {
    const float share = w.smoothing * w.loss_scale[0];
    const float each = share / static_cast<float>(w.vocab);
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      const float y = capped(x.v[j], w.cap);
      const float grad =
          __expf(y - top) * per_sum - each - (i + j == target ? scale - share : 0.0F);
      x.v[j] = grad * (1.0F - y * y / (w.cap * w.cap));
    }
    return x;
  }
#pragma unroll
  for (int j = 0; j < kVec; ++j) {
    x.v[j] = __expf(x.v[j] - top) * per_sum - (i + j == target ? scale : 0.0F);
  }
  return x;
}

#ifdef SFT_HOPPER

namespace loss_clusters {

constexpr int kThreads = 256;
constexpr int kChunks = 4;  // pieces of a block's part: work begins when the first is there

// Block `rank` of a cluster has columns rank * part and on; `part` is a multiple of kVec.
template <class T>
__global__ void __launch_bounds__(kThreads) kernel(const LossRows<T> w, int part) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  namespace cg = cooperative_groups;
  using namespace hopper;
  extern __shared__ __align__(128) uint8_t memory[];
  __shared__ Barrier full[kChunks];
  __shared__ Seen own;
  __shared__ float target_logit;
  const cg::cluster_group cluster = cg::this_cluster();
  const auto blocks = static_cast<int>(cluster.num_blocks());
  const auto rank = static_cast<int>(cluster.block_rank());
  const int64_t row = static_cast<int64_t>(blockIdx.x) / blocks;
  const auto vocab = static_cast<int>(w.vocab);
  const int first = rank * part;
  const int columns = (max(min(part, vocab - first), 0) + kVec - 1) / kVec * kVec;
  const int chunk = (part / kVec + kChunks - 1) / kChunks * kVec;
  T* const x = reinterpret_cast<T*>(memory);
  T* const out = w.logits + row * w.ld + first;
  if (threadIdx.x == 0) {
    for (int c = 0; c < kChunks; ++c) {
      start(full + c, 1);
    }
    publish_barriers();
    for (int c = 0; c < kChunks; ++c) {
      const int n = max(min(chunk, columns - c * chunk), 0);
      arrive_expecting(full + c, n * sizeof(T));
      if (n > 0) {
        load_bytes(full + c, x + c * chunk, out + c * chunk, n * sizeof(T));
      }
    }
  }
  __syncthreads();
  const int mine = static_cast<int>(threadIdx.x) * kVec;
  Seen seen;
  for (int c = 0; c < kChunks; ++c) {
    wait(full + c, 0);
    const int end = min((c + 1) * chunk, columns);
    for (int i = c * chunk + mine; i < end; i += kThreads * kVec) {
      see(seen, capped(load_vec(x + i), w.cap), first + i, vocab);
    }
  }
  seen = block_merge<kThreads>(seen);
  const int32_t target = w.targets[w.rows[row]];
  if (threadIdx.x == 0) {
    own = seen;
    if (target >= first && target < first + part) {
      target_logit = capped(sft::widen(x[target - first]), w.cap);
    }
  }
  cluster.sync();
  Seen all = *cluster.map_shared_rank(&own, 0);
  for (int r = 1; r < blocks; ++r) {
    all = merge(all, *cluster.map_shared_rank(&own, r));
  }
  const float logit = *cluster.map_shared_rank(&target_logit, target / part);
  auto token = cluster.barrier_arrive();  // until all have read what is mine
  const RowLoss loss = row_loss(all, logit, target, w.dft);
  if (rank == 0 && threadIdx.x == 0) {
    w.stats[row] = loss.stats;
  }
  if (w.wants_gradient) {
    const float scale = loss.weight * w.loss_scale[0];
    const float per_sum = scale / all.sum.total();
    for (int i = mine; i < columns; i += kThreads * kVec) {
      store_vec(x + i,
                loss_gradient(w, load_vec(x + i), first + i, target, all.top, per_sum, scale));
    }
    show_to_copies();
    __syncthreads();
    if (threadIdx.x == 0 && columns > 0) {
      store_bytes(out, x, columns * sizeof(T));
      commit_stores();
      wait_stores_read<0>();
    }
  }
  cluster.barrier_wait(std::move(token));
#endif
}

}  // namespace loss_clusters

#endif

// False, and nothing done, where the card or the size of a row does not allow it.
template <class T>
bool launch_loss_clusters(CudaDevice& gpu, unsigned rows, const LossRows<T>& work) {
#ifdef SFT_HOPPER
  constexpr int64_t kFewBytes = 76 << 10;  // three blocks fit on a multiprocessor
  for (const int blocks : {4, 8}) {
    const int64_t part = ((work.vocab + blocks - 1) / blocks + kVec - 1) / kVec * kVec;
    const auto bytes = part * static_cast<int64_t>(sizeof(T));
    if (!gpu.hopper() || bytes > gpu.shared_memory() - 2048 || (blocks < 8 && bytes > kFewBytes)) {
      continue;
    }
    const auto kernel = loss_clusters::kernel<T>;
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(bytes)),
               "shared memory");
    cudaLaunchAttribute attribute{};
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = static_cast<unsigned>(blocks);
    attribute.val.clusterDim.y = 1;
    attribute.val.clusterDim.z = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(rows * static_cast<unsigned>(blocks));
    config.blockDim = dim3(loss_clusters::kThreads);
    config.dynamicSmemBytes = static_cast<size_t>(bytes);
    config.stream = gpu.stream();
    config.attrs = &attribute;
    config.numAttrs = 1;
    check_cuda(cudaLaunchKernelEx(&config, kernel, work, static_cast<int>(part)), "the loss");
    return true;
  }
#endif
  return false;
}

}  // namespace sft
