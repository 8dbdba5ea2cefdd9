#include "ops/rmsnorm.h"

// The threads of a row hold it in registers: each value is read once.
#include <algorithm>
#include <type_traits>

#include "device/cuda/scratch.h"
#include "ops/cuda/norm_rows.h"
#include "ops/cuda/rows.cuh"

namespace sft::gpu {

namespace {

// Of a block, which takes this / kWide rows at a time.
template <int kWide>
constexpr int kThreads = kWide > 256 ? kWide : 256;
constexpr int kHeld = 2;  // vectors that a thread holds of a row

// The sum over the kWide threads of a row. Calls one after the other take turns 0 and 1, so that
// nobody waits for the others to have read.
template <int kWide>
__device__ inline float row_sum(float x, int turn = 0) {
  x = warp_sum(x);
  if constexpr (kWide > 32) {
    __shared__ float shared[2][kThreads<kWide> / 32];
    if (threadIdx.x % 32 == 0) {
      shared[turn][threadIdx.x / 32] = x;
    }
    __syncthreads();
    const int first = static_cast<int>(threadIdx.x) / kWide * (kWide / 32);
    x = 0.0F;
#pragma unroll
    for (int w = 0; w < kWide / 32; ++w) {
      x += shared[turn][first + w];
    }
  }
  return x;
}

// The column of a thread's k-th vector.
template <int kWide>
__device__ inline int64_t column(int k) {
  return (k * kWide + static_cast<int>(threadIdx.x) % kWide) * kVec;
}

template <int kWide, class T>
__global__ void __launch_bounds__(kThreads<kWide>)
    forward_kernel(const T* x, const T* delta, const float* weight, int64_t rows, int64_t n,
                   int64_t ld, float eps, float offset, T* y, float* rstd, T* sum) {
  const bool aligned = n % kVec == 0 && ld % kVec == 0;
  const int64_t row = int64_t{blockIdx.x} * (kThreads<kWide> / kWide) + threadIdx.x / kWide;
  const bool live = row < rows;
  const int64_t at = row * ld;
  Vec held[kHeld];
  float squares = 0.0F;
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
    const int64_t i = column<kWide>(k);
    if (live && i < n) {
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
  const float r = rsqrtf(row_sum<kWide>(squares) / static_cast<float>(n) + eps);
  if (live && threadIdx.x % kWide == 0) {
    rstd[row] = r;
  }
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
    const int64_t i = column<kWide>(k);
    if (live && i < n) {
      const Vec w = load_row(weight, i, n, aligned);
#pragma unroll
      for (int j = 0; j < kVec; ++j) {
        held[k].v[j] *= r * (offset + w.v[j]);
      }
      store_row(y + at, i, n, aligned, held[k]);
    }
  }
}

// What the backward pass reads of a thread's part of a row.
template <class T>
struct Held {
  Packed<T> x[kHeld], g[kHeld], so_far[kHeld];
  float r = 0.0F;
};

template <int kWide, class T>
__device__ inline Held<T> hold(const T* grad_y, const T* x, const float* rstd, const T* grad_sum,
                               int64_t row, int64_t rows, int64_t n, int64_t ld) {
  const bool aligned = n % kVec == 0 && ld % kVec == 0;
  Held<T> out{};
  if (row < rows) {
    out.r = rstd[row];
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      const int64_t i = column<kWide>(k);
      if (i < n) {
        out.x[k] = load_packed(x + row * ld, i, n, aligned);
        out.g[k] = load_packed(grad_y + row * ld, i, n, aligned);
        if (grad_sum != nullptr) {
          out.so_far[k] = load_packed(grad_sum + row * ld, i, n, aligned);
        }
      }
    }
  }
  return out;
}

// Rows that one thread adds up in float32 for the weight's gradient.
constexpr int64_t kMostRows = 64;

// grad_x = grad_sum + rstd (w g - x rstd^2 mean(w g x)); each block sums its rows' part
// of the weight's gradient, g x rstd, into partial (gridDim.x, n). The next row is on its way while
// one is worked on.
template <int kWide, class T>
__global__ void __launch_bounds__(kThreads<kWide>, kWide > 256 ? 1 : 2)
    backward_kernel(const T* grad_y, const T* x, const float* weight, const float* rstd,
                    const T* grad_sum, int64_t rows, int64_t n, int64_t ld, float offset, T* grad_x,
                    float* partial) {
  constexpr int kPlaces = kThreads<kWide> / kWide;
  const bool aligned = n % kVec == 0 && ld % kVec == 0;
  const int64_t place = int64_t{blockIdx.x} * kPlaces + threadIdx.x / kWide;
  const int64_t places = int64_t{gridDim.x} * kPlaces;
  Vec sums[kHeld] = {};
  Vec scales[kHeld] = {};
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
    const int64_t i = column<kWide>(k);
    if (i < n) {
      scales[k] = load_row(weight, i, n, aligned);
#pragma unroll
      for (int j = 0; j < kVec; ++j) {
        scales[k].v[j] += offset;
      }
    }
  }
  Held<T> next = hold<kWide>(grad_y, x, rstd, grad_sum, place, rows, n, ld);
  int turn = 0;
  for (int64_t base = 0; base < rows; base += places) {  // the same for all: row_sum waits
    const int64_t row = base + place;
    const Held<T> held = next;
    next = hold<kWide>(grad_y, x, rstd, grad_sum, row + places, rows, n, ld);
    float dot = 0.0F;
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      const Vec xs = unpack(held.x[k]);
      const Vec gs = unpack(held.g[k]);
#pragma unroll
      for (int j = 0; j < kVec; ++j) {
        const float product = gs.v[j] * xs.v[j];
        sums[k].v[j] += product * held.r;
        dot += product * scales[k].v[j];
      }
    }
    const float mean = row_sum<kWide>(dot, turn) * held.r * held.r / static_cast<float>(n);
    turn ^= 1;
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      const int64_t i = column<kWide>(k);
      if (row < rows && i < n) {
        const Vec xs = unpack(held.x[k]);
        const Vec gs = unpack(held.g[k]);
        Vec out = unpack(held.so_far[k]);
#pragma unroll
        for (int j = 0; j < kVec; ++j) {
          out.v[j] += held.r * (gs.v[j] * scales[k].v[j] - xs.v[j] * mean);
        }
        store_row(grad_x + row * ld, i, n, aligned, out);
      }
    }
  }
  if (partial != nullptr) {
    __shared__ float places_sums[kPlaces][kWide * kHeld * kVec];
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
#pragma unroll
      for (int j = 0; j < kVec; ++j) {
        places_sums[threadIdx.x / kWide][column<kWide>(k) + j] = sums[k].v[j];
      }
    }
    __syncthreads();
    for (int64_t i = threadIdx.x; i < n; i += kThreads<kWide>) {
      float total = 0.0F;
#pragma unroll
      for (int p = 0; p < kPlaces; ++p) {
        total += places_sums[p][i];
      }
      partial[int64_t{blockIdx.x} * n + i] = total;
    }
  }
}

// Calls f with the number of threads that a row of n values takes.
template <class F>
void with_wide(int64_t n, F&& f) {
  const int64_t wide = (n + kHeld * kVec - 1) / (kHeld * kVec);
  if (wide <= 32) {
    f(std::integral_constant<int, 32>{});
  } else if (wide <= 64) {
    f(std::integral_constant<int, 64>{});
  } else if (wide <= 128) {
    f(std::integral_constant<int, 128>{});
  } else if (wide <= 256) {
    f(std::integral_constant<int, 256>{});
  } else {
    SFT_ASSERT(wide <= 512);  // 8192 values
    f(std::integral_constant<int, 512>{});
  }
}

}  // namespace

template <class T>
void norm_rows(CudaDevice& gpu, const NormRows<T>& r, const RmsNorm& options, const T* delta, T* y,
               float* rstd, T* sum) {
  with_wide(r.n, [&](auto wide) {
    constexpr int kPlaces = kThreads<wide()> / wide();
    const auto blocks = static_cast<unsigned>((r.rows + kPlaces - 1) / kPlaces);
    forward_kernel<wide()><<<blocks, kThreads<wide()>, 0, gpu.stream()>>>(
        r.x, delta, r.weight, r.rows, r.n, r.ld, options.eps, options.weight_offset, y, rstd, sum);
  });
}

template <class T>
void norm_rows_backward(CudaDevice& gpu, const NormRows<T>& r, const RmsNorm& options,
                        const T* grad_y, const float* rstd, const T* grad_sum, T* grad_x,
                        float* grad_weight, bool accumulate_weight) {
  with_wide(r.n, [&](auto wide) {
    constexpr int kPlaces = kThreads<wide()> / wide();
    // So many that all work at once, and more where a thread would add up too many rows.
    const int64_t most = static_cast<int64_t>(Scratch::kBytes / sizeof(float)) / r.n;
    const int64_t wanted =
        std::max(gpu.multiprocessors() * int64_t{2}, r.rows / (kPlaces * kMostRows));
    const int64_t blocks = std::min({(r.rows + kPlaces - 1) / kPlaces, wanted, most});
    float* const partial =
        grad_weight == nullptr ? nullptr : gpu.state<Scratch>().take<float>(blocks * r.n);
    backward_kernel<wide()><<<static_cast<unsigned>(blocks), kThreads<wide()>, 0, gpu.stream()>>>(
        grad_y, r.x, r.weight, rstd, grad_sum, r.rows, r.n, r.ld, options.weight_offset, grad_x,
        partial);
    if (partial != nullptr) {
      column_sums(gpu, partial, blocks, r.n, grad_weight, accumulate_weight);
    }
  });
}

#define SFT_NORM_ROWS(T)                                                                         \
  template void norm_rows(CudaDevice&, const NormRows<T>&, const RmsNorm&, const T*, T*, float*, \
                          T*);                                                                   \
  template void norm_rows_backward(CudaDevice&, const NormRows<T>&, const RmsNorm&, const T*,    \
                                   const float*, const T*, T*, float*, bool);
SFT_NORM_ROWS(float)
SFT_NORM_ROWS(__nv_bfloat16)
SFT_NORM_ROWS(__half)
#undef SFT_NORM_ROWS

namespace {

template <class T>
NormRows<T> rows_of(const Tensor& x, const Tensor& weight) {
  const int64_t n = weight.shape[0];
  return {x.as<T>(), weight.f32(), x.shape.elements() / n, n, n};
}

}  // namespace

void rmsnorm_forward(Device& device, const Tensor& x, const Tensor& delta, const Tensor& weight,
                     const RmsNorm& options, Tensor& y, Tensor& rstd, Tensor& sum) {
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    norm_rows<T>(cuda(device), rows_of<T>(x, weight), options, delta.as<T>(), y.as<T>(), rstd.f32(),
                 sum.as<T>());
  });
  check_cuda(cudaGetLastError(), "rmsnorm");
}

void rmsnorm_backward(Device& device, const Tensor& grad_y, const Tensor& x, const Tensor& weight,
                      const Tensor& rstd, const Tensor& grad_sum, const RmsNorm& options,
                      Tensor& grad_x, Tensor& grad_weight, bool accumulate_weight) {
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    norm_rows_backward<T>(cuda(device), rows_of<T>(x, weight), options, grad_y.as<T>(), rstd.f32(),
                          grad_sum.as<T>(), grad_x.as<T>(), grad_weight.f32(), accumulate_weight);
  });
  check_cuda(cudaGetLastError(), "rmsnorm.backward");
}

}  // namespace sft::gpu
