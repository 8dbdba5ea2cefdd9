#include "device/cuda/launch.cuh"
#include "ops/cuda/rows.cuh"
#include "ops/next_token.h"

namespace sft::gpu {

namespace {

constexpr int kThreads = 256;
constexpr int kBlocks = 64;  // of a text

struct Best {
  float value;
  int32_t id;
  // A NaN is never better.
  __device__ void meet(float other, int32_t other_id) {
    if (other > value || (other == value && other_id < id)) {
      value = other;
      id = other_id;
    }
  }
  __device__ void meet_warp() {
#pragma unroll
    for (int w = 16; w > 0; w /= 2) {
      meet(__shfl_xor_sync(0xffffffffU, value, w), __shfl_xor_sync(0xffffffffU, id, w));
    }
  }
};

// The best of each block, and how many blocks of a text are done: zero between two launches.
class Found {
 public:
  static constexpr int64_t kMost = 256;  // texts
  explicit Found(CudaDevice& device)
      : best_(device.allocate(kMost * kBlocks * sizeof(Best))),
        counts_(device.allocate(kMost * sizeof(int32_t))) {}
  Best* best() const { return reinterpret_cast<Best*>(best_.data()); }
  int32_t* counts() const { return reinterpret_cast<int32_t*>(counts_.data()); }

 private:
  Buffer best_, counts_;
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    next_token_kernel(const T* logits, int64_t vocab, Best* found, int32_t* counts, int32_t* tokens,
                      int32_t* positions, int32_t* past, int32_t* written) {
  __shared__ Best warps[kThreads / 32];
  __shared__ bool last_here;
  let_next_begin();
  wait_for_previous();
  const int64_t text = blockIdx.y;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const T* const row = logits + text * vocab;
  const bool aligned = vocab % kVec == 0;
  Best best{sft::widen(row[0]), 0};
  const int64_t first = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kVec;
  for (int64_t i = first; i < vocab; i += int64_t{kBlocks} * kThreads * kVec) {
    const Vec v = load_row(row, i, vocab, aligned);
#pragma unroll
    for (int k = 0; k < kVec; ++k) {
      if (i + k < vocab) {
        best.meet(v.v[k], static_cast<int32_t>(i + k));
      }
    }
  }
  best.meet_warp();
  if (threadIdx.x % 32 == 0) {
    warps[warp] = best;
  }
  __syncthreads();
  if (warp > 0) {
    return;
  }
  best = warps[threadIdx.x % (kThreads / 32)];
  best.meet_warp();
  if (threadIdx.x == 0) {
    found[text * kBlocks + blockIdx.x] = best;
    __threadfence();
    last_here = atomicAdd(counts + text, 1) == kBlocks - 1;
  }
  __syncwarp();
  if (!last_here) {
    return;
  }
  __threadfence();
  for (int n = static_cast<int>(threadIdx.x); n < kBlocks; n += 32) {
    const Best* const other = found + text * kBlocks + n;
    best.meet(__ldcg(&other->value), __ldcg(&other->id));
  }
  best.meet_warp();
  if (threadIdx.x == 0) {
    counts[text] = 0;
    int32_t* const place = past + 2 * text;
    written[place[0] + place[1]] = best.id;
    tokens[text] = best.id;
    ++positions[text];
    ++place[1];
  }
}

}  // namespace

void next_token(Device& device, const Tensor& logits, Tensor& tokens, Tensor& positions,
                Tensor& past, Tensor& written) {
  CudaDevice& gpu = cuda(device);
  const Found& found = gpu.state<Found>();
  SFT_ASSERT(logits.shape[0] <= Found::kMost);
  with_type(logits.dtype, [&](auto type) {
    using T = decltype(type);
    launch_in_chain(gpu, next_token_kernel<T>,
                    dim3(kBlocks, static_cast<unsigned>(logits.shape[0])), kThreads, 0,
                    logits.as<T>(), logits.shape[1], found.best(), found.counts(), tokens.i32(),
                    positions.i32(), past.i32(), written.i32());
  });
}

}  // namespace sft::gpu
