// A block takes a row at a time and holds it in registers: each value is read once.
#include <algorithm>

#include "ops/cuda/cuda_kernels.h"
#include "ops/cuda/rows.cuh"
#include "ops/cuda/scratch.h"

namespace sft::gpu {

namespace {

// Vectors a thread holds: rows of up to kHeld * 1024 * kVec values.
template <int kHeld, class T>
__global__ void forward_kernel(const T* x, const T* delta, const float* weight, int64_t n,
                               float eps, float offset, T* y, float* rstd, T* sum) {
  __shared__ float shared[33];
  const bool aligned = n % kVec == 0;
  const int64_t at = int64_t{blockIdx.x} * n;
  Vec held[kHeld];
  float squares = 0.0F;
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
    const int64_t i = (int64_t{k} * blockDim.x + threadIdx.x) * kVec;
    if (i < n) {
      held[k] = load_row(x + at, i, n, aligned);
      if (delta != nullptr) {
        const Vec d = load_row(delta + at, i, n, aligned);
#pragma unroll
        for (int j = 0; j < kVec; ++j) {
          // As it will be read again, so that a recomputed norm is the same.
          held[k].v[j] = sft::widen(narrow<T>(held[k].v[j] + d.v[j]));
        }
        store_row(sum + at, i, n, aligned, held[k]);
      }
#pragma unroll
      for (int j = 0; j < kVec; ++j) {
        squares += held[k].v[j] * held[k].v[j];
      }
    }
  }
  const float r = rsqrtf(block_sum(squares, shared) / static_cast<float>(n) + eps);
  if (threadIdx.x == 0) {
    rstd[blockIdx.x] = r;
  }
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
    const int64_t i = (int64_t{k} * blockDim.x + threadIdx.x) * kVec;
    if (i < n) {
      const Vec w = load_row(weight, i, n, aligned);
#pragma unroll
      for (int j = 0; j < kVec; ++j) {
        held[k].v[j] *= r * (offset + w.v[j]);
      }
      store_row(y + at, i, n, aligned, held[k]);
    }
  }
}

// grad_x = grad_sum + rstd (w g - x rstd^2 mean(w g x)); each block sums its rows' part of the
// weight's gradient, g x rstd, into partial (blocks, n).
template <int kHeld, class T>
__global__ void backward_kernel(const T* grad_y, const T* x, const float* weight,
                                const float* rstd, const T* grad_sum, int64_t rows, int64_t n,
                                float offset, T* grad_x, float* partial) {
  __shared__ float shared[33];
  const bool aligned = n % kVec == 0;
  Vec w[kHeld], sums[kHeld];
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
    const int64_t i = (int64_t{k} * blockDim.x + threadIdx.x) * kVec;
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      sums[k].v[j] = 0.0F;
    }
    if (i < n) {
      w[k] = load_row(weight, i, n, aligned);
    }
  }
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const int64_t at = row * n;
    const float r = rstd[row];
    Vec xs[kHeld], gs[kHeld];
    float dot = 0.0F;
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      const int64_t i = (int64_t{k} * blockDim.x + threadIdx.x) * kVec;
      if (i < n) {
        xs[k] = load_row(x + at, i, n, aligned);
        gs[k] = load_row(grad_y + at, i, n, aligned);
#pragma unroll
        for (int j = 0; j < kVec; ++j) {
          sums[k].v[j] += gs[k].v[j] * xs[k].v[j] * r;
          gs[k].v[j] *= offset + w[k].v[j];
          dot += gs[k].v[j] * xs[k].v[j];
        }
      }
    }
    const float mean = block_sum(dot, shared) * r * r / static_cast<float>(n);
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      const int64_t i = (int64_t{k} * blockDim.x + threadIdx.x) * kVec;
      if (i < n) {
        Vec out;
#pragma unroll
        for (int j = 0; j < kVec; ++j) {
          out.v[j] = r * (gs[k].v[j] - xs[k].v[j] * mean);
        }
        if (grad_sum != nullptr) {
          const Vec so_far = load_row(grad_sum + at, i, n, aligned);
#pragma unroll
          for (int j = 0; j < kVec; ++j) {
            out.v[j] += so_far.v[j];
          }
        }
        store_row(grad_x + at, i, n, aligned, out);
      }
    }
  }
  if (partial != nullptr) {
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      const int64_t i = (int64_t{k} * blockDim.x + threadIdx.x) * kVec;
      if (i < n) {
        store_row(partial + int64_t{blockIdx.x} * n, i, n, aligned, sums[k]);
      }
    }
  }
}

int threads_for(int64_t n) {
  return static_cast<int>(std::min<int64_t>(1024, ((n + kVec - 1) / kVec + 31) / 32 * 32));
}

// Calls f with the number of vectors that a thread must hold for rows of n values.
template <class F>
void with_held(int64_t n, F&& f) {
  const int64_t held = (n + 1024 * kVec - 1) / (1024 * kVec);
  if (held <= 1) {
    f(std::integral_constant<int, 1>{});
  } else if (held <= 2) {
    f(std::integral_constant<int, 2>{});
  } else {
    SFT_ASSERT(held <= 4);
    f(std::integral_constant<int, 4>{});
  }
}

}  // namespace

void rmsnorm_forward(Device& device, const Tensor& x, const Tensor& delta, const Tensor& weight,
                     const RmsNorm& options, const Tensor& y, const Tensor& rstd,
                     const Tensor& sum) {
  const int64_t n = x.shape[1];
  const auto rows = static_cast<unsigned>(x.shape[0]);
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    with_held(n, [&](auto held) {
      forward_kernel<held()><<<rows, threads_for(n), 0, cuda(device).stream()>>>(
          x.as<T>(), delta.as<T>(), weight.f32(), n, options.eps, options.weight_offset, y.as<T>(),
          rstd.f32(), sum.as<T>());
    });
  });
  check_cuda(cudaGetLastError(), "rmsnorm");
}

void rmsnorm_backward(Device& device, const Tensor& grad_y, const Tensor& x, const Tensor& weight,
                      const Tensor& rstd, const Tensor& grad_sum, const RmsNorm& options,
                      const Tensor& grad_x, const Tensor& grad_weight, bool accumulate_weight) {
  CudaDevice& gpu = cuda(device);
  const int64_t rows = x.shape[0];
  const int64_t n = x.shape[1];
  const int threads = threads_for(n);
  const int64_t resident = int64_t{gpu.multiprocessors()} * std::max(1, 1024 / threads);
  const int64_t blocks = std::min(rows, resident);
  float* const partial =
      grad_weight.data == nullptr ? nullptr : gpu.state<Scratch>().take<float>(blocks * n);
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    with_held(n, [&](auto held) {
      backward_kernel<held()><<<static_cast<unsigned>(blocks), threads, 0, gpu.stream()>>>(
          grad_y.as<T>(), x.as<T>(), weight.f32(), rstd.f32(), grad_sum.as<T>(), rows, n,
          options.weight_offset, grad_x.as<T>(), partial);
    });
  });
  check_cuda(cudaGetLastError(), "rmsnorm.backward");
  if (partial != nullptr) {
    column_sums(gpu, partial, blocks, n, grad_weight.f32(), accumulate_weight);
  }
}

}  // namespace sft::gpu
