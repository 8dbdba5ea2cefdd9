// A warp takes a head at a time: heads are short.
#include <algorithm>

#include "device/cuda/scratch.h"
#include "ops/cuda/cuda_kernels.h"
#include "ops/cuda/rows.cuh"

namespace sft::gpu {

namespace {

constexpr int kWarps = 8;
constexpr int kHeld = 8;  // values a lane holds: heads of up to 256

struct Layout {
  int heads, kv_heads, d;
  int64_t row, tokens;
  float eps, offset;
};

template <class T>
__global__ void forward_kernel(const T* qkv, const float* query_weight, const float* key_weight,
                               Layout l, T* y, float* rstd) {
  const int lane = static_cast<int>(threadIdx.x);
  const int all = l.heads + 2 * l.kv_heads;
  const int normed = l.heads + l.kv_heads;
  const int64_t unit = int64_t{blockIdx.x} * kWarps + threadIdx.y;
  if (unit >= l.tokens * all) {
    return;
  }
  const int64_t t = unit / all;
  const int h = static_cast<int>(unit % all);
  const int64_t at = t * l.row + int64_t{h} * l.d;
  float held[kHeld];
  float squares = 0.0F;
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
    const int i = lane + k * 32;
    held[k] = i < l.d ? sft::widen(qkv[at + i]) : 0.0F;
    squares += held[k] * held[k];
  }
  float r = 1.0F;
  const float* weight = h < l.heads ? query_weight : key_weight;
  if (h < normed) {
    r = rsqrtf(warp_sum(squares) / static_cast<float>(l.d) + l.eps);
    if (lane == 0) {
      rstd[t * normed + h] = r;
    }
  }
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
    const int i = lane + k * 32;
    if (i < l.d) {
      y[at + i] = narrow<T>(h < normed ? held[k] * r * (l.offset + weight[i]) : held[k]);
    }
  }
}

// Each block's part of both weights' gradients goes into partial (blocks, 2, d).
template <class T>
__global__ void backward_kernel(const T* grad_y, const T* qkv, const float* query_weight,
                                const float* key_weight, const float* rstd, Layout l, T* grad_qkv,
                                float* partial) {
  __shared__ float sums[kWarps][2][32 * kHeld];
  const int lane = static_cast<int>(threadIdx.x);
  const int warp = static_cast<int>(threadIdx.y);
  const int all = l.heads + 2 * l.kv_heads;
  const int normed = l.heads + l.kv_heads;
  float mine[2][kHeld] = {};
  const int64_t stride = int64_t{gridDim.x} * kWarps;
  for (int64_t unit = int64_t{blockIdx.x} * kWarps + warp; unit < l.tokens * all; unit += stride) {
    const int64_t t = unit / all;
    const int h = static_cast<int>(unit % all);
    const int64_t at = t * l.row + int64_t{h} * l.d;
    if (h >= normed) {
      for (int i = lane; i < l.d; i += 32) {
        grad_qkv[at + i] = grad_y[at + i];
      }
      continue;
    }
    const bool query = h < l.heads;
    const float* weight = query ? query_weight : key_weight;
    const float r = rstd[t * normed + h];
    float g[kHeld], x[kHeld];
    float dot = 0.0F;
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      const int i = lane + k * 32;
      const bool in = i < l.d;
      g[k] = in ? sft::widen(grad_y[at + i]) : 0.0F;
      x[k] = in ? sft::widen(qkv[at + i]) : 0.0F;
      const float part = g[k] * x[k] * r;
      mine[0][k] += query ? part : 0.0F;
      mine[1][k] += query ? 0.0F : part;
      g[k] *= in ? l.offset + weight[i] : 0.0F;
      dot += g[k] * x[k];
    }
    const float mean = warp_sum(dot) * r * r / static_cast<float>(l.d);
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      const int i = lane + k * 32;
      if (i < l.d) {
        grad_qkv[at + i] = narrow<T>(r * (g[k] - x[k] * mean));
      }
    }
  }
  for (int which = 0; which < 2; ++which) {
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      sums[warp][which][lane + k * 32] = mine[which][k];
    }
  }
  __syncthreads();
  for (int i = warp * 32 + lane; i < 2 * l.d; i += kWarps * 32) {
    float total = 0.0F;
    for (int w = 0; w < kWarps; ++w) {
      total += sums[w][i / l.d][i % l.d];
    }
    partial[int64_t{blockIdx.x} * 2 * l.d + i] = total;
  }
}

Layout layout_of(const Tensor& qkv, const Heads& heads, const RmsNorm& options) {
  SFT_ASSERT(heads.head_dim <= 32 * kHeld);
  return {heads.heads,  heads.kv_heads, heads.head_dim,       heads.row(),
          qkv.shape[0], options.eps,    options.weight_offset};
}

int64_t blocks_for(const Layout& l) {
  return (l.tokens * (l.heads + 2 * l.kv_heads) + kWarps - 1) / kWarps;
}

// out (n) (+)= column sums of partial (parts, 2 n), the first or the second half of each row.
__global__ void half_sums_kernel(const float* partial, int64_t parts, int n, int half, float* out,
                                 bool accumulate) {
  const int i = static_cast<int>(blockIdx.x);
  float sum = 0.0F;
  for (int64_t p = threadIdx.x; p < parts; p += 32) {
    sum += partial[p * 2 * n + half * n + i];
  }
  sum = warp_sum(sum);
  if (threadIdx.x == 0) {
    out[i] = sum + (accumulate ? out[i] : 0.0F);
  }
}

}  // namespace

void qk_norm_forward(Device& device, const Tensor& qkv, const Tensor& query_weight,
                     const Tensor& key_weight, const Heads& heads, const RmsNorm& options,
                     const Tensor& y, const Tensor& rstd) {
  const Layout l = layout_of(qkv, heads, options);
  with_type(qkv.dtype, [&](auto type) {
    using T = decltype(type);
    forward_kernel<<<static_cast<unsigned>(blocks_for(l)), dim3(32, kWarps), 0,
                     cuda(device).stream()>>>(qkv.as<T>(), query_weight.f32(), key_weight.f32(), l,
                                              y.as<T>(), rstd.f32());
  });
  check_cuda(cudaGetLastError(), "qk_norm");
}

void qk_norm_backward(Device& device, const Tensor& grad_y, const Tensor& qkv,
                      const Tensor& query_weight, const Tensor& key_weight, const Tensor& rstd,
                      const Heads& heads, const RmsNorm& options, const Tensor& grad_qkv,
                      const Tensor& grad_query_weight, bool accumulate_query,
                      const Tensor& grad_key_weight, bool accumulate_key) {
  CudaDevice& gpu = cuda(device);
  const Layout l = layout_of(qkv, heads, options);
  const int64_t blocks = std::min<int64_t>(blocks_for(l), gpu.multiprocessors() * 8L);
  float* const partial = gpu.state<Scratch>().take<float>(blocks * 2 * l.d);
  with_type(qkv.dtype, [&](auto type) {
    using T = decltype(type);
    backward_kernel<<<static_cast<unsigned>(blocks), dim3(32, kWarps), 0, gpu.stream()>>>(
        grad_y.as<T>(), qkv.as<T>(), query_weight.f32(), key_weight.f32(), rstd.f32(), l,
        grad_qkv.as<T>(), partial);
  });
  const auto collect = [&](const Tensor& grad, int half, bool accumulate) {
    if (grad.data != nullptr) {
      half_sums_kernel<<<static_cast<unsigned>(l.d), 32, 0, gpu.stream()>>>(
          partial, blocks, l.d, half, grad.f32(), accumulate);
    }
  };
  collect(grad_query_weight, 0, accumulate_query);
  collect(grad_key_weight, 1, accumulate_key);
  check_cuda(cudaGetLastError(), "qk_norm.backward");
}

}  // namespace sft::gpu
