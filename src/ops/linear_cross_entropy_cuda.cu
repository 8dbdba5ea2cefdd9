#include "ops/linear_cross_entropy.h"

#include <algorithm>

#include "device/cuda/scratch.h"
#include "ops/cuda/gemm.h"
#include "ops/cuda/loss_rows.cuh"
#include "ops/cuda/rows.cuh"

namespace sft::gpu {

namespace {

constexpr int kThreads = 512;

// One row of logits -> its statistics; the logits become the loss's gradient. Reads the row twice.
template <class T>
__global__ void loss_kernel(const LossRows<T> w) {
  T* const row = w.logits + int64_t{blockIdx.x} * w.ld;
  const auto vocab = static_cast<int>(w.vocab);
  const int32_t target = w.targets[w.rows[blockIdx.x]];
  const int first = static_cast<int>(threadIdx.x) * kVec;
  Seen mine;
  for (int i = first; i < vocab; i += kThreads * kVec) {
    see(mine, capped(load_vec(row + i), w.cap), i,
        vocab);  // a row's padding may be read, not counted
  }
  const Seen all = block_merge<kThreads>(mine);
  const RowLoss loss = row_loss(all, capped(sft::widen(row[target]), w.cap), target, w.dft);
  if (threadIdx.x == 0) {
    w.stats[blockIdx.x] = loss.stats;
  }
  if (!w.wants_gradient) {
    return;
  }
  __syncthreads();  // everybody has read the target's logit
  const float scale = loss.weight * w.loss_scale[0];
  const float per_sum = scale / all.sum.total();
  for (int i = first; i < vocab; i += kThreads * kVec) {
    store_vec(row + i, loss_gradient(w, load_vec(row + i), i, target, all.top, per_sum, scale));
  }
}

// Label smoothing adds s (the target's logit - the mean logit) to a row's loss (see the CPU's
// token_loss): this before the loss is made, smooth_kernel after it. A block a row.
template <class T>
__global__ void above_mean_kernel(const LossRows<T> w, float* above_mean) {
  __shared__ double sums[kThreads];
  const T* const row = w.logits + int64_t{blockIdx.x} * w.ld;
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < w.vocab; i += kThreads) {
    sum += static_cast<double>(capped(sft::widen(row[i]), w.cap));
  }
  sums[threadIdx.x] = sum;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) {
      sums[threadIdx.x] += sums[threadIdx.x + half];
    }
  }
  if (threadIdx.x == 0) {
    const auto mean = sums[0] / static_cast<double>(w.vocab);
    const float logit = sft::widen(row[w.targets[w.rows[blockIdx.x]]]);
    const auto target = static_cast<double>(capped(logit, w.cap));
    above_mean[blockIdx.x] = static_cast<float>(target - mean);
  }
}

template <class T>
__global__ void smooth_kernel(const LossRows<T> w, float smoothing, const float* above_mean) {
  T* const row = w.logits + int64_t{blockIdx.x} * w.ld;
  if (threadIdx.x == 0) {
    w.stats[blockIdx.x].loss += smoothing * above_mean[blockIdx.x];
  }
  if (!w.wants_gradient || w.cap > 0.0F) {
    return;  // with a cap loss_gradient has added it
  }
  const int32_t target = w.targets[w.rows[blockIdx.x]];
  const float share = smoothing * w.loss_scale[0];
  const float each = share / static_cast<float>(w.vocab);
  for (int64_t i = threadIdx.x; i < w.vocab; i += kThreads) {
    const float more = i == target ? share - each : -each;
    row[i] = sft::narrow<T>(sft::widen(row[i]) + more);
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
                          TokenLoss loss, Tensor& workspace, Tensor& row_stats, Tensor& stats,
                          Tensor& grad_hidden, Tensor& grad_weight, bool accumulate_weight,
                          const Tensor& low, const Tensor& up, float scale,
                          Tensor& update_workspace, Tensor& grad_low, Tensor& grad_up,
                          bool accumulate_up) {
  CudaDevice& gpu = cuda(device);
  const cudaStream_t stream = gpu.stream();
  const int64_t width = hidden.shape[1];
  const int64_t vocab = weight.shape[0];
  const int64_t count = rows.shape[0];
  const bool wants_hidden = grad_hidden.data != nullptr;
  const bool wants_weight = grad_weight.data != nullptr;
  const bool wants_low = grad_low.data != nullptr;
  const bool wants_up = grad_up.data != nullptr;
  const int64_t rank = low.data != nullptr ? low.shape[1] : 0;
  auto* const of_row = row_stats.as<LossStats>();
  if (wants_hidden) {
    gpu.zero(grad_hidden.data, grad_hidden.bytes());
  }
  if (wants_weight && !accumulate_weight && count == 0) {
    gpu.zero(grad_weight.data, grad_weight.bytes());
  }
  if (wants_low) {
    gpu.zero(grad_low.data, grad_low.bytes());
  }
  if (wants_up && !accumulate_up && count == 0) {
    gpu.zero(grad_up.data, grad_up.bytes());
  }
  const int64_t most = workspace.shape[0];
  // Chunks of one size, so that the last one is no small product.
  const int64_t chunks = std::max<int64_t>((count + most - 1) / most, 1);
  const int64_t step = std::min(most, ((count + chunks - 1) / chunks + 127) / 128 * 128);
  const int64_t ld = workspace.shape[1] - 2 * width;
  with_type(hidden.dtype, [&](auto kind) {
    using T = decltype(kind);
    T* const logits = workspace.as<T>();
    T* const x = logits + most * ld;  // (chunk, width): the trained rows, gathered
    T* const grad_x = x + most * width;
    for (int64_t begin = 0; begin < count; begin += step) {
      const int64_t n = std::min(step, count - begin);
      const auto blocks = static_cast<unsigned>(n);
      const int32_t* const chunk = rows.i32() + begin;
      copy_rows<T>(gpu, n, width, hidden.as<T>(), chunk, x, nullptr);
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
      T* const x_low = update_workspace.as<T>();  // (chunk, rank), and its gradient behind it
      T* const grad_x_low = x_low + most * rank;
      if (rank > 0) {
        copy_rows<T>(gpu, n, rank, low.as<T>(), chunk, x_low, nullptr);
        gemm(gpu, {.transpose_b = true,
                   .m = n,
                   .n = vocab,
                   .k = rank,
                   .alpha = scale,
                   .beta = 1.0F,
                   .a = x_low,
                   .b = up.data,
                   .c = logits,
                   .lda = rank,
                   .ldb = rank,
                   .ldc = ld,
                   .type = hidden.dtype,
                   .out_type = hidden.dtype});
      }
      const LossRows<T> work{logits,
                             ld,
                             vocab,
                             targets.i32(),
                             chunk,
                             loss_scale.f32(),
                             loss.type == LossType::dft,
                             wants_hidden || wants_weight || wants_low || wants_up,
                             of_row + begin,
                             loss.cap,
                             loss.smoothing};
      float* const above_mean =
          loss.smoothing > 0.0F ? gpu.state<Scratch>().take<float>(n) : nullptr;
      if (above_mean != nullptr) {
        above_mean_kernel<<<blocks, kThreads, 0, stream>>>(work, above_mean);
      }
      if (!launch_loss_clusters(gpu, blocks, work)) {
        loss_kernel<<<blocks, kThreads, 0, stream>>>(work);
      }
      if (above_mean != nullptr) {
        smooth_kernel<<<blocks, kThreads, 0, stream>>>(work, loss.smoothing, above_mean);
      }
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
        copy_rows<T>(gpu, n, width, grad_x, nullptr, grad_hidden.as<T>(), chunk);
      }
      if (wants_low) {
        gemm(gpu, {.m = n,
                   .n = rank,
                   .k = vocab,
                   .alpha = scale,
                   .a = logits,
                   .b = up.data,
                   .c = grad_x_low,
                   .lda = ld,
                   .ldb = rank,
                   .ldc = rank,
                   .type = hidden.dtype,
                   .out_type = hidden.dtype});
        copy_rows<T>(gpu, n, rank, grad_x_low, nullptr, grad_low.as<T>(), chunk);
      }
      if (wants_up) {
        gemm(gpu, {.transpose_a = true,
                   .m = vocab,
                   .n = rank,
                   .k = n,
                   .alpha = scale,
                   .beta = accumulate_up || begin > 0 ? 1.0F : 0.0F,
                   .a = logits,
                   .b = x_low,
                   .c = grad_up.data,
                   .lda = ld,
                   .ldb = rank,
                   .ldc = rank,
                   .type = hidden.dtype,
                   .out_type = DType::f32});
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
