#include <algorithm>

#include "ops/cuda/cuda_kernels.h"
#include "ops/cuda/gemm.h"
#include "ops/cuda/rows.cuh"

namespace sft::gpu {

namespace {

// What a thread has seen of a row: the largest logit and where it stood first, the sum of
// e^(x - top) and of e^(x - top) x.
struct Seen {
  float top = -INFINITY;
  int at = INT32_MAX;
  float sum = 0.0F, weighted = 0.0F;
};

__device__ inline Seen merge(const Seen& a, const Seen& b) {
  Seen out;
  out.top = fmaxf(a.top, b.top);
  out.at = a.top == b.top ? min(a.at, b.at) : (a.top > b.top ? a.at : b.at);
  const float x = a.sum == 0.0F ? 0.0F : __expf(a.top - out.top);
  const float y = b.sum == 0.0F ? 0.0F : __expf(b.top - out.top);
  out.sum = a.sum * x + b.sum * y;
  out.weighted = a.weighted * x + b.weighted * y;
  return out;
}

__device__ inline void see(Seen& seen, const Vec& x, int64_t i, int64_t n) {
  float top = seen.top;
  int at = seen.at;
#pragma unroll
  for (int j = 0; j < kVec; ++j) {
    if (i + j < n && x.v[j] > top) {
      top = x.v[j];
      at = static_cast<int>(i) + j;
    }
  }
  if (top > seen.top) {
    const float shrink = __expf(seen.top - top);
    seen.sum *= shrink;
    seen.weighted *= shrink;
    seen.top = top;
    seen.at = at;
  }
#pragma unroll
  for (int j = 0; j < kVec; ++j) {
    if (i + j < n) {
      const float e = __expf(x.v[j] - seen.top);
      seen.sum += e;
      seen.weighted += e * x.v[j];
    }
  }
}

constexpr int kThreads = 512;

__device__ inline Seen block_merge(Seen mine) {
  __shared__ Seen shared[kThreads / 32];
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) {
    Seen other;
    other.top = __shfl_xor_sync(0xffffffffU, mine.top, lane);
    other.at = __shfl_xor_sync(0xffffffffU, mine.at, lane);
    other.sum = __shfl_xor_sync(0xffffffffU, mine.sum, lane);
    other.weighted = __shfl_xor_sync(0xffffffffU, mine.weighted, lane);
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

// One row of logits -> its statistics; the logits become the loss's gradient.
template <class T>
__global__ void loss_kernel(T* logits, int64_t ld, int64_t vocab, const int32_t* targets,
                            const int32_t* rows, const float* loss_scale, bool dft,
                            bool wants_gradient, LossStats* stats) {
  T* const row = logits + int64_t{blockIdx.x} * ld;
  const int32_t target = targets[rows[blockIdx.x]];
  Seen mine;
  for (int64_t i = int64_t{threadIdx.x} * kVec; i < vocab; i += kThreads * kVec) {
    see(mine, load_vec(row + i), i, vocab);  // a row's padding may be read, not counted
  }
  const Seen all = block_merge(mine);
  const float log_sum = logf(all.sum);
  const float logit = sft::widen(row[target]);
  const float log_p = logit - all.top - log_sum;
  const float weight = dft ? expf(log_p) : 1.0F;
  if (threadIdx.x == 0) {
    const float entropy = log_sum + all.top - all.weighted / all.sum;
    // A logit that is not finite must show in the loss wherever it stands.
    const float loss = isfinite(entropy) ? -weight * log_p : NAN;
    stats[blockIdx.x] = {loss, all.at == target ? 1.0F : 0.0F, entropy, 1.0F};
  }
  if (!wants_gradient) {
    return;
  }
  __syncthreads();  // everybody has read the target's logit
  const float scale = weight * loss_scale[0];
  const float per_sum = scale / all.sum;
  for (int64_t i = int64_t{threadIdx.x} * kVec; i < vocab; i += kThreads * kVec) {
    Vec x = load_vec(row + i);
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      x.v[j] = __expf(x.v[j] - all.top) * per_sum - (i + j == target ? scale : 0.0F);
    }
    store_vec(row + i, x);
  }
}

template <class T>
__global__ void gather_kernel(const T* x, const int32_t* rows, int64_t n, T* y) {
  const bool aligned = n % kVec == 0;
  const int64_t from = int64_t{rows[blockIdx.x]} * n;
  for (int64_t i = int64_t{threadIdx.x} * kVec; i < n; i += int64_t{blockDim.x} * kVec) {
    store_row(y + int64_t{blockIdx.x} * n, i, n, aligned, load_row(x + from, i, n, aligned));
  }
}

template <class T>
__global__ void scatter_kernel(const T* x, const int32_t* rows, int64_t n, T* y) {
  const bool aligned = n % kVec == 0;
  const int64_t to = int64_t{rows[blockIdx.x]} * n;
  for (int64_t i = int64_t{threadIdx.x} * kVec; i < n; i += int64_t{blockDim.x} * kVec) {
    store_row(y + to, i, n, aligned, load_row(x + int64_t{blockIdx.x} * n, i, n, aligned));
  }
}

__global__ void stats_kernel(const LossStats* rows, int64_t count, LossStats* total) {
  __shared__ double sums[3][256];
  double loss = 0, correct = 0, entropy = 0;
  for (int64_t i = threadIdx.x; i < count; i += 256) {
    loss += rows[i].loss;
    correct += rows[i].correct;
    entropy += rows[i].entropy;
  }
  sums[0][threadIdx.x] = loss;
  sums[1][threadIdx.x] = correct;
  sums[2][threadIdx.x] = entropy;
  for (int half = 128; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) {
      for (auto& sum : sums) {
        sum[threadIdx.x] += sum[threadIdx.x + half];
      }
    }
  }
  if (threadIdx.x == 0) {
    *total = {static_cast<float>(sums[0][0]), static_cast<float>(sums[1][0]),
              static_cast<float>(sums[2][0]), static_cast<float>(count)};
  }
}

}  // namespace

void linear_cross_entropy(Device& device, const Tensor& hidden, const Tensor& weight,
                          const Tensor& targets, const Tensor& rows, const Tensor& loss_scale,
                          LossType type, const Tensor& workspace, const Tensor& row_stats,
                          const Tensor& stats, const Tensor& grad_hidden, const Tensor& grad_weight,
                          bool accumulate_weight) {
  CudaDevice& gpu = cuda(device);
  const cudaStream_t stream = gpu.stream();
  const int64_t width = hidden.shape[1];
  const int64_t vocab = weight.shape[0];
  const int64_t count = rows.shape[0];
  const bool wants_hidden = grad_hidden.data != nullptr;
  const bool wants_weight = grad_weight.data != nullptr;
  auto* const of_row = row_stats.as<LossStats>();
  if (wants_hidden) {
    gpu.zero(grad_hidden.data, grad_hidden.bytes());
  }
  if (wants_weight && !accumulate_weight && count == 0) {
    gpu.zero(grad_weight.data, grad_weight.bytes());
  }
  const int64_t most = workspace.shape[0];
  const int64_t ld = workspace.shape[1] - 2 * width;
  const int threads = static_cast<int>(std::min<int64_t>(256, (width / kVec + 32) / 32 * 32));
  with_type(hidden.dtype, [&](auto kind) {
    using T = decltype(kind);
    T* const logits = workspace.as<T>();
    T* const x = logits + most * ld;  // (chunk, width): the trained rows, gathered
    T* const grad_x = x + most * width;
    for (int64_t begin = 0; begin < count; begin += most) {
      const int64_t n = std::min(most, count - begin);
      const auto blocks = static_cast<unsigned>(n);
      const int32_t* const chunk = rows.i32() + begin;
      gather_kernel<<<blocks, threads, 0, stream>>>(hidden.as<T>(), chunk, width, x);
      gemm(gpu, {.transpose_b = true,
                 .m = n,
                 .n = vocab,
                 .k = width,
                 .a = x,
                 .b = weight.data,
                 .c = logits,
                 .lda = width,
                 .ldb = width,
                 .ldc = ld,
                 .type = hidden.dtype,
                 .out_type = hidden.dtype});
      loss_kernel<<<blocks, kThreads, 0, stream>>>(logits, ld, vocab, targets.i32(), chunk,
                                                   loss_scale.f32(), type == LossType::dft,
                                                   wants_hidden || wants_weight, of_row + begin);
      if (wants_hidden) {
        gemm(gpu, {.m = n,
                   .n = width,
                   .k = vocab,
                   .a = logits,
                   .b = weight.data,
                   .c = grad_x,
                   .lda = ld,
                   .ldb = width,
                   .ldc = width,
                   .type = hidden.dtype,
                   .out_type = hidden.dtype});
        scatter_kernel<<<blocks, threads, 0, stream>>>(grad_x, chunk, width, grad_hidden.as<T>());
      }
      if (wants_weight) {
        gemm(gpu, {.transpose_a = true,
                   .m = vocab,
                   .n = width,
                   .k = n,
                   .beta = accumulate_weight || begin > 0 ? 1.0F : 0.0F,
                   .a = logits,
                   .b = x,
                   .c = grad_weight.data,
                   .lda = ld,
                   .ldb = width,
                   .ldc = width,
                   .type = hidden.dtype,
                   .out_type = DType::f32});
      }
    }
  });
  stats_kernel<<<1, 256, 0, stream>>>(of_row, count, stats.as<LossStats>());
  check_cuda(cudaGetLastError(), "linear_cross_entropy");
}

}  // namespace sft::gpu
