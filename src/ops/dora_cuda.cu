#include <algorithm>

#include "device/cuda/scratch.h"
#include "ops/cuda/rows.cuh"
#include "ops/dora.h"

namespace sft::gpu {

namespace {

constexpr int kThreads = 256;
constexpr int kWarp = 32;

unsigned blocks_for(int64_t work, int64_t each = kThreads) {
  return static_cast<unsigned>((work + each - 1) / each);
}

__global__ void ones_kernel(float* gain, int64_t n) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < n) {
    gain[i] = 1.0F;
  }
}

__device__ float warp_sum(float x) {
#pragma unroll
  for (int away = kWarp / 2; away > 0; away /= 2) {
    x += __shfl_xor_sync(0xffffffffU, x, away);
  }
  return x;
}

// Where a piece's rows and ranks are.
struct Place {
  int64_t weight_row, b_row, rows, first_rank;
  float scale;
};

// A warp a row.
template <class T>
__global__ void squares_kernel(const T* weight, int64_t rows, int64_t in, float* squares) {
  const int64_t j = int64_t{blockIdx.x} * (kThreads / kWarp) + threadIdx.x / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if (j >= rows) {
    return;
  }
  LongSum sum;
  for (int64_t i = lane; i < in; i += kWarp) {
    const float w = sft::widen(weight[j * in + i]);
    sum.add(w * w);
  }
  const float total = warp_sum(sum.total());
  if (lane == 0) {
    squares[j] = total;
  }
}

// A warp a row.
template <class T>
__global__ void gain_kernel(const float* squares, const float* down, const float* gram, const T* b,
                            const float* magnitude, Place at, int64_t ranks, int64_t rank,
                            float* gain, float* inverse) {
  const int64_t j = int64_t{blockIdx.x} * (kThreads / kWarp) + threadIdx.x / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if (j >= at.rows) {
    return;
  }
  const T* const up = b + (at.b_row + j) * rank;
  LongSum mixed, own;
  for (int64_t l = lane; l < rank; l += kWarp) {
    const float u = sft::widen(up[l]);
    mixed.add(down[(at.weight_row + j) * ranks + at.first_rank + l] * u);
    const float* const products = gram + (at.first_rank + l) * ranks + at.first_rank;
    LongSum sum;
    for (int64_t m = 0; m < rank; ++m) {
      sum.add(products[m] * sft::widen(up[m]));
    }
    own.add(sum.total() * u);
  }
  const float square = squares[at.weight_row + j] + 2.0F * at.scale * warp_sum(mixed.total()) +
                       at.scale * at.scale * warp_sum(own.total());
  if (lane == 0) {
    const float over = 1.0F / sqrtf(fmaxf(square, 0.0F));
    inverse[at.b_row + j] = over;
    gain[at.weight_row + j] = magnitude[at.b_row + j] * over;
  }
}

__global__ void gain_backward_kernel(const float* grad_gain, const float* inverse, int64_t rows,
                                     float* grad_magnitude, bool accumulate) {
  const int64_t j = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (j < rows) {
    const float grad = grad_gain[j] * inverse[j];
    grad_magnitude[j] = accumulate ? grad_magnitude[j] + grad : grad;
  }
}

template <class T>
__global__ void scale_kernel(const T* x, const float* gain, const T* bias, int64_t rows, int64_t n,
                             T* y) {
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at < rows * n) {
    const int64_t i = at % n;
    const float scaled = sft::widen(x[at]) * gain[i];
    y[at] = sft::narrow<T>(bias == nullptr ? scaled : scaled + sft::widen(bias[i]));
  }
}

// partial (chunks, n): a thread adds a column of a chunk of rows up.
template <class T>
__global__ void dots_kernel(const T* grad_y, int64_t ld, const T* x, const T* more, int64_t rows,
                            int64_t n, float* partial) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= n) {
    return;
  }
  LongSum sum;
  for (int64_t t = blockIdx.y; t < rows; t += gridDim.y) {
    const float value =
        sft::widen(x[t * n + i]) + (more == nullptr ? 0.0F : sft::widen(more[t * n + i]));
    sum.add(sft::widen(grad_y[t * ld + i]) * value);
  }
  partial[int64_t{blockIdx.y} * n + i] = sum.total();
}

template <class T>
__global__ void mix_kernel(const T* base, const T* update, const float* gain, int64_t rows,
                           int64_t n, int64_t ld, T* y) {
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at < rows * n) {
    const int64_t t = at / n, i = at % n;
    const float g = gain[i];
    y[t * ld + i] = sft::narrow<T>(sft::widen(y[t * ld + i]) + (g - 1.0F) * sft::widen(base[at]) +
                                   g * sft::widen(update[at]));
  }
}

template <class T>
__global__ void mix_backward_kernel(const T* grad_y, const float* gain, int64_t rows, int64_t n,
                                    int64_t ld, T* grad_base, T* grad_update) {
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at < rows * n) {
    const int64_t t = at / n, i = at % n;
    const float g = gain[i], grad = sft::widen(grad_y[t * ld + i]);
    grad_base[at] = sft::narrow<T>((g - 1.0F) * grad);
    grad_update[at] = sft::narrow<T>(g * grad);
  }
}

}  // namespace

void row_squares(Device& device, const Tensor& weight, Tensor& squares) {
  const int64_t rows = weight.shape[0];
  with_type(weight.dtype, [&](auto type) {
    using T = decltype(type);
    squares_kernel<<<blocks_for(rows, kThreads / kWarp), kThreads, 0, cuda(device).stream()>>>(
        weight.as<T>(), rows, weight.shape[1], squares.f32());
  });
  check_cuda(cudaGetLastError(), "row_squares");
}

void dora_gain(Device& device, const Tensor& squares, const Tensor& down, const Tensor& gram,
               const Tensor& b, const Tensor& magnitude, const std::vector<LoraPiece>& pieces,
               Tensor& gain, Tensor& inverse, bool more) {
  const cudaStream_t stream = cuda(device).stream();
  if (!more) {
    ones_kernel<<<blocks_for(gain.shape[0]), kThreads, 0, stream>>>(gain.f32(), gain.shape[0]);
  }
  const int64_t rank = b.shape[1];
  int64_t row = 0;
  with_type(b.dtype, [&](auto type) {
    using T = decltype(type);
    for (size_t i = 0; i < pieces.size(); ++i) {
      const LoraPiece& piece = pieces[i];
      const Place at{piece.first_row, row, piece.rows, static_cast<int64_t>(i) * rank, piece.scale};
      gain_kernel<<<blocks_for(piece.rows, kThreads / kWarp), kThreads, 0, stream>>>(
          squares.f32(), down.f32(), gram.f32(), b.as<T>(), magnitude.f32(), at, down.shape[1],
          rank, gain.f32(), inverse.f32());
      row += piece.rows;
    }
  });
  check_cuda(cudaGetLastError(), "dora_gain");
}

void dora_gain_backward(Device& device, const Tensor& grad_gain, const Tensor& inverse,
                        const std::vector<LoraPiece>& pieces, Tensor& grad_magnitude,
                        bool accumulate) {
  int64_t row = 0;
  for (const LoraPiece& piece : pieces) {
    gain_backward_kernel<<<blocks_for(piece.rows), kThreads, 0, cuda(device).stream()>>>(
        grad_gain.f32() + piece.first_row, inverse.f32() + row, piece.rows,
        grad_magnitude.f32() + row, accumulate);
    row += piece.rows;
  }
  check_cuda(cudaGetLastError(), "dora_gain.backward");
}

void scale_columns(Device& device, const Tensor& x, const Tensor& gain, const Tensor& bias,
                   Tensor& y) {
  const int64_t rows = x.shape[0], n = x.shape[1];
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    scale_kernel<<<blocks_for(rows * n), kThreads, 0, cuda(device).stream()>>>(
        x.as<T>(), gain.f32(), bias.as<T>(), rows, n, y.as<T>());
  });
  check_cuda(cudaGetLastError(), "scale_columns");
}

void column_dots(Device& device, const Tensor& grad_y, const Tensor& x, const Tensor& more,
                 int64_t first, Tensor& grad_gain) {
  CudaDevice& gpu = cuda(device);
  const int64_t rows = x.shape[0], n = x.shape[1];
  const int64_t chunks = std::clamp<int64_t>(rows / 64, 1, 128);
  float* const partial = gpu.state<Scratch>().take<float>(chunks * n);
  const dim3 grid(blocks_for(n), static_cast<unsigned>(chunks));
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    dots_kernel<<<grid, kThreads, 0, gpu.stream()>>>(grad_y.as<T>() + first, grad_y.shape[1],
                                                     x.as<T>(), more.as<T>(), rows, n, partial);
  });
  check_cuda(cudaGetLastError(), "column_dots");
  column_sums(gpu, partial, chunks, n, grad_gain.f32() + first, false);
}

void dora_mix(Device& device, const Tensor& base, const Tensor& update, const Tensor& gain,
              int64_t first, Tensor& y) {
  const int64_t rows = base.shape[0], n = base.shape[1];
  with_type(base.dtype, [&](auto type) {
    using T = decltype(type);
    mix_kernel<<<blocks_for(rows * n), kThreads, 0, cuda(device).stream()>>>(
        base.as<T>(), update.as<T>(), gain.f32() + first, rows, n, y.shape[1], y.as<T>() + first);
  });
  check_cuda(cudaGetLastError(), "dora_mix");
}

void dora_mix_backward(Device& device, const Tensor& grad_y, const Tensor& gain, int64_t first,
                       Tensor& grad_base, Tensor& grad_update) {
  const int64_t rows = grad_base.shape[0], n = grad_base.shape[1];
  with_type(grad_y.dtype, [&](auto type) {
    using T = decltype(type);
    mix_backward_kernel<<<blocks_for(rows * n), kThreads, 0, cuda(device).stream()>>>(
        grad_y.as<T>() + first, gain.f32() + first, rows, n, grad_y.shape[1], grad_base.as<T>(),
        grad_update.as<T>());
  });
  check_cuda(cudaGetLastError(), "dora_mix.backward");
}

}  // namespace sft::gpu
