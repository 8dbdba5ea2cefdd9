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

__device__ inline void see(Seen& seen, const Vec& x, int i, int n) {
  float top = seen.top;
  int at = seen.at;
#pragma unroll
  for (int j = 0; j < kVec; ++j) {
    if (i + j < n && x.v[j] > top) {
      top = x.v[j];
      at = i + j;
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

template <int kThreads>
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

// A block's threads hold this many vectors of a row in registers, more in shared memory, and read
// only the rest of it a second time.
template <class T>
constexpr int kHeld = 16 / sizeof(T);

// One row of logits -> its statistics; the logits become the loss's gradient. `shared`: vectors of
// a thread that fit in the block's shared memory.
template <int kThreads, class T>
__global__ void __launch_bounds__(kThreads, 1)
    loss_kernel(T* logits, int64_t ld, int vocab, const int32_t* targets, const int32_t* rows,
                const float* loss_scale, bool dft, bool wants_gradient, int shared,
                LossStats* stats) {
  extern __shared__ uint4 dynamic[];
  auto* const in_shared = reinterpret_cast<Packed<T>*>(dynamic) + threadIdx.x;
  constexpr int kStep = kThreads * kVec;
  T* const row = logits + int64_t{blockIdx.x} * ld;
  const int32_t target = targets[rows[blockIdx.x]];
  const int first = static_cast<int>(threadIdx.x) * kVec;
  const int second = first + kHeld<T> * kStep;  // what is in shared memory
  const int third = second + shared * kStep;
  const auto read = [&](int i) { return *reinterpret_cast<const Packed<T>*>(row + i); };
  Seen mine;
  Packed<T> held[kHeld<T>];  // a row's padding may be read, not counted
#pragma unroll
  for (int k = 0; k < kHeld<T>; ++k) {
    if (first + k * kStep < vocab) {
      held[k] = read(first + k * kStep);
    }
  }
#pragma unroll 4
  for (int i = second; i < min(third, vocab); i += kStep) {
    const Packed<T> x = read(i);
    in_shared[(i - second) / kVec] = x;
    see(mine, unpack(x), i, vocab);
  }
#pragma unroll 2
  for (int i = third; i < vocab; i += kStep) {
    see(mine, unpack(read(i)), i, vocab);
  }
#pragma unroll
  for (int k = 0; k < kHeld<T>; ++k) {
    if (first + k * kStep < vocab) {
      see(mine, unpack(held[k]), first + k * kStep, vocab);
    }
  }
  const Seen all = block_merge<kThreads>(mine);
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
  const auto write = [&](int i, const Packed<T>& packed) {
    Vec x = unpack(packed);
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      x.v[j] = __expf(x.v[j] - all.top) * per_sum - (i + j == target ? scale : 0.0F);
    }
    store_vec(row + i, x);
  };
#pragma unroll
  for (int k = 0; k < kHeld<T>; ++k) {
    if (first + k * kStep < vocab) {
      write(first + k * kStep, held[k]);
    }
  }
  for (int i = second; i < min(third, vocab); i += kStep) {
    write(i, in_shared[(i - second) / kVec]);
  }
  for (int i = third; i < vocab; i += kStep) {
    write(i, read(i));
  }
}

template <int kThreads, class T>
void launch_loss(CudaDevice& gpu, unsigned rows, T* logits, int64_t ld, int64_t vocab,
                 const int32_t* targets, const int32_t* chunk, const float* loss_scale, bool dft,
                 bool wants_gradient, LossStats* stats) {
  constexpr int64_t kBytes = int64_t{kThreads} * sizeof(Packed<T>);  // of a vector a thread
  constexpr int64_t kStatic = 1024;
  const int64_t vectors = (vocab + kThreads * kVec - 1) / (kThreads * kVec);
  const int64_t shared =
      std::clamp<int64_t>(vectors - kHeld<T>, 0, (gpu.shared_memory() - kStatic) / kBytes);
  const auto kernel = loss_kernel<kThreads, T>;
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(shared * kBytes)),
             "shared memory");
  kernel<<<rows, kThreads, static_cast<size_t>(shared * kBytes), gpu.stream()>>>(
      logits, ld, static_cast<int>(vocab), targets, chunk, loss_scale, dft, wants_gradient,
      static_cast<int>(shared), stats);
}

// Row i of y = row i of x, where i stands for `from[i]` and `to[i]` where these are given.
template <class T>
__global__ void copy_rows_kernel(const T* x, const int32_t* from, int64_t n, T* y,
                                 const int32_t* to) {
  const bool aligned = n % kVec == 0;
  const int64_t row = blockIdx.x;
  const T* const source = x + (from != nullptr ? from[row] : row) * n;
  T* const target = y + (to != nullptr ? to[row] : row) * n;
  for (int64_t i = int64_t{threadIdx.x} * kVec; i < n; i += int64_t{blockDim.x} * kVec) {
    store_row(target, i, n, aligned, load_row(source, i, n, aligned));
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
  // Chunks of one size, so that the last one is no small product.
  const int64_t chunks = std::max<int64_t>((count + most - 1) / most, 1);
  const int64_t step = std::min(most, ((count + chunks - 1) / chunks + 127) / 128 * 128);
  const int64_t ld = workspace.shape[1] - 2 * width;
  const int threads = static_cast<int>(std::min<int64_t>(256, (width / kVec + 32) / 32 * 32));
  with_type(hidden.dtype, [&](auto kind) {
    using T = decltype(kind);
    T* const logits = workspace.as<T>();
    T* const x = logits + most * ld;  // (chunk, width): the trained rows, gathered
    T* const grad_x = x + most * width;
    for (int64_t begin = 0; begin < count; begin += step) {
      const int64_t n = std::min(step, count - begin);
      const auto blocks = static_cast<unsigned>(n);
      const int32_t* const chunk = rows.i32() + begin;
      copy_rows_kernel<T><<<blocks, threads, 0, stream>>>(hidden.as<T>(), chunk, width, x, nullptr);
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
      // A long row takes the whole multiprocessor, so that it is read once.
      const auto launch = vocab > 65536 ? launch_loss<512, T> : launch_loss<256, T>;
      launch(gpu, blocks, logits, ld, vocab, targets.i32(), chunk, loss_scale.f32(),
             type == LossType::dft, wants_hidden || wants_weight, of_row + begin);
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
        copy_rows_kernel<T>
            <<<blocks, threads, 0, stream>>>(grad_x, nullptr, width, grad_hidden.as<T>(), chunk);
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
