#include "ops/attention.h"

// Attention: on compute capability 9.0 in bfloat16 the kernels of attention_hopper.h; else cuDNN's
// fused ones where they take the shape and scores have no soft cap; else, in 16 bits, those of
// attention_mma.cuh; else those of attention_tiled.cuh; else, on a card with little shared memory,
// plain ones, in which a warp takes a row and looks at 32 keys (or queries) at a time. Only the
// last two know dropout. All but cuDNN's backward give the same bits each time.
#include <algorithm>
#include <bit>

#include "ops/cuda/attention_cudnn.h"
#include "ops/cuda/attention_hopper.h"
#include "ops/cuda/attention_layout.cuh"
#include "ops/cuda/attention_mma.cuh"
#include "ops/cuda/attention_tiled.cuh"
#include "ops/cuda/rows.cuh"

namespace sft::gpu {

namespace {

constexpr int kWarps = 4;
// Values of a head that a lane holds: 8 serve heads of up to 256 values, 16 of up to 512.
constexpr int kMostPerLane = 16;

// x . y over a head.
template <class T>
__device__ inline float dot(const T* x, const T* y, int d) {
  float sum = 0.0F;
  for (int i = 0; i < d; ++i) {
    sum += sft::widen(x[i]) * sft::widen(y[i]);
  }
  return sum;
}

// One query row, of token t and a head, against keys [from, to) of `keys`, and a sink if there is
// one: running softmax; y and log_sum.
template <int kPerLane, class T>
__device__ void attend(const T* query, const T* keys, const T* values, int64_t stride, int64_t from,
                       int64_t to, const float* sink, const Layout& l, const PairDropout& dropped,
                       int64_t t, int head, T* y, float* log_sum) {
  const int lane = static_cast<int>(threadIdx.x);
  float top = -INFINITY;
  LongSum sum;
  if (sink != nullptr) {
    top = *sink;
    sum.add(1.0F);
  }
  LongSum out[kPerLane];
  for (int64_t base = from; base < to; base += 32) {
    const int64_t key = base + lane;
    const float score = key < to ? score_of(l, dot(query, keys + key * stride, l.d)) : -INFINITY;
    float peak = score;
#pragma unroll
    for (int w = 16; w > 0; w /= 2) {
      peak = fmaxf(peak, __shfl_xor_sync(0xffffffffU, peak, w));
    }
    const float now = fmaxf(top, peak);
    const float shrink = top == -INFINITY ? 0.0F : __expf(top - now);
    const float p = key < to ? __expf(score - now) : 0.0F;
    sum.scale(shrink);
    sum.add(warp_sum(p));
    const float kept = key < to ? p * dropped.factor(t, key, head) : 0.0F;
#pragma unroll
    for (int k = 0; k < kPerLane; ++k) {
      out[k].scale(shrink);
    }
    float some[kPerLane] = {};  // of these keys
    for (int j = 0; j < 32 && base + j < to; ++j) {
      const float weight = __shfl_sync(0xffffffffU, kept, j);
      const T* value = values + (base + j) * stride;
#pragma unroll
      for (int k = 0; k < kPerLane; ++k) {
        const int i = lane + k * 32;
        if (i < l.d) {
          some[k] += weight * sft::widen(value[i]);
        }
      }
    }
#pragma unroll
    for (int k = 0; k < kPerLane; ++k) {
      out[k].add(some[k]);
    }
    top = now;
  }
#pragma unroll
  for (int k = 0; k < kPerLane; ++k) {
    const int i = lane + k * 32;
    if (i < l.d) {
      y[i] = narrow<T>(to > from ? out[k].total() / sum.total() : 0.0F);
    }
  }
  if (lane == 0 && log_sum != nullptr && to > from) {
    *log_sum = top + logf(sum.total());
  }
}

template <int kPerLane, class T>
__global__ void forward_kernel(const T* qkv, const int32_t* start, Layout l, PairDropout dropped,
                               T* y, float* log_sum) {
  const int64_t t = int64_t{blockIdx.x} * kWarps + threadIdx.y;
  const int head = static_cast<int>(blockIdx.y);
  if (t >= l.tokens) {
    return;
  }
  const Document doc = document_of(start, l, t);
  const int64_t from = l.window > 0 ? max(doc.begin, t - l.window + 1) : doc.begin;
  const int64_t to = doc.end > doc.begin ? t + 1 : from;
  const T* keys = qkv + (l.heads + head / l.group()) * l.d;
  attend<kPerLane>(qkv + t * l.row() + head * l.d, keys, keys + l.kv_heads * l.d, l.row(), from, to,
                   nullptr, l, dropped, t, head, y + (t * l.heads + head) * l.d,
                   to > from ? log_sum + log_sum_at(l, head, t) : nullptr);
}

// grad_q of one row: sum over keys of p (grad_p - delta) k.
template <int kPerLane, class T>
__global__ void query_gradient_kernel(const T* grad_y, const T* qkv, const T* y,
                                      const float* log_sum, const int32_t* start, Layout l,
                                      PairDropout dropped, T* grad_qkv) {
  const int lane = static_cast<int>(threadIdx.x);
  const int64_t t = int64_t{blockIdx.x} * kWarps + threadIdx.y;
  const int head = static_cast<int>(blockIdx.y);
  if (t >= l.tokens) {
    return;
  }
  const Document doc = document_of(start, l, t);
  const int64_t from = l.window > 0 ? max(doc.begin, t - l.window + 1) : doc.begin;
  const int64_t to = doc.end > doc.begin ? t + 1 : from;
  const T* query = qkv + t * l.row() + head * l.d;
  const T* keys = qkv + (l.heads + head / l.group()) * l.d;
  const T* values = keys + l.kv_heads * l.d;
  const T* g = grad_y + (t * l.heads + head) * l.d;
  float grad[kPerLane] = {};
  const float delta = to > from ? dot(g, y + (t * l.heads + head) * l.d, l.d) : 0.0F;
  const float lse = to > from ? log_sum[log_sum_at(l, head, t)] : 0.0F;
  for (int64_t base = from; base < to; base += 32) {
    const int64_t key = base + lane;
    float ds = 0.0F;
    if (key < to) {
      const float score = score_of(l, dot(query, keys + key * l.row(), l.d));
      const float p = __expf(score - lse);
      const float slope = dropped.factor(t, key, head) * dot(g, values + key * l.row(), l.d);
      ds = p * (slope - delta) * score_slope(l, score) * l.scale;
    }
    for (int j = 0; j < 32 && base + j < to; ++j) {
      const float weight = __shfl_sync(0xffffffffU, ds, j);
      const T* k_row = keys + (base + j) * l.row();
#pragma unroll
      for (int k = 0; k < kPerLane; ++k) {
        const int i = lane + k * 32;
        if (i < l.d) {
          grad[k] += weight * sft::widen(k_row[i]);
        }
      }
    }
  }
#pragma unroll
  for (int k = 0; k < kPerLane; ++k) {
    const int i = lane + k * 32;
    if (i < l.d) {
      grad_qkv[t * l.row() + head * l.d + i] = narrow<T>(grad[k]);
    }
  }
}

// grad_k and grad_v of one row: sums over the queries, of all heads of the group, that see it.
template <int kPerLane, class T>
__global__ void key_gradient_kernel(const T* grad_y, const T* qkv, const T* y, const float* log_sum,
                                    const int32_t* start, Layout l, PairDropout dropped,
                                    T* grad_qkv) {
  const int lane = static_cast<int>(threadIdx.x);
  const int64_t t = int64_t{blockIdx.x} * kWarps + threadIdx.y;
  const int kv = static_cast<int>(blockIdx.y);
  if (t >= l.tokens) {
    return;
  }
  const Document doc = document_of(start, l, t);
  const int64_t end = l.window > 0 ? min(doc.end, t + l.window) : doc.end;
  const T* key = qkv + t * l.row() + (l.heads + kv) * l.d;
  const T* value = key + l.kv_heads * l.d;
  float grad_k[kPerLane] = {};
  float grad_v[kPerLane] = {};
  for (int head = kv * l.group(); head < (kv + 1) * l.group(); ++head) {
    for (int64_t base = t; base < end; base += 32) {
      const int64_t q = base + lane;
      float p = 0.0F;
      float ds = 0.0F;
      if (q < end) {
        const T* g = grad_y + (q * l.heads + head) * l.d;
        const float delta = dot(g, y + (q * l.heads + head) * l.d, l.d);
        const float score = score_of(l, dot(qkv + q * l.row() + head * l.d, key, l.d));
        p = __expf(score - log_sum[log_sum_at(l, head, q)]);
        const float kept = dropped.factor(q, t, head);
        ds = p * (kept * dot(g, value, l.d) - delta) * score_slope(l, score) * l.scale;
        p *= kept;
      }
      for (int j = 0; j < 32 && base + j < end; ++j) {
        const float p_j = __shfl_sync(0xffffffffU, p, j);
        const float ds_j = __shfl_sync(0xffffffffU, ds, j);
        const T* query = qkv + (base + j) * l.row() + head * l.d;
        const T* g = grad_y + ((base + j) * l.heads + head) * l.d;
#pragma unroll
        for (int k = 0; k < kPerLane; ++k) {
          const int i = lane + k * 32;
          if (i < l.d) {
            grad_k[k] += ds_j * sft::widen(query[i]);
            grad_v[k] += p_j * sft::widen(g[i]);
          }
        }
      }
    }
  }
  T* const out = grad_qkv + t * l.row() + (l.heads + kv) * l.d;
#pragma unroll
  for (int k = 0; k < kPerLane; ++k) {
    const int i = lane + k * 32;
    if (i < l.d) {
      out[i] = narrow<T>(grad_k[k]);
      out[l.kv_heads * l.d + i] = narrow<T>(grad_v[k]);
    }
  }
}

// Rows after the last document become 0.
template <class T>
__global__ void zero_tail_kernel(const int32_t* start, int64_t documents, int64_t rows,
                                 int64_t width, T* y) {
  const int64_t n = rows * width;
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i =
           int64_t{start[documents]} * width + int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
       i < n; i += stride) {
    y[i] = narrow<T>(0.0F);
  }
}

// Adds the new keys and values to the cache. past: two values a lane, see cached_attention.
template <class T>
__global__ void fill_cache_kernel(const T* qkv, const int32_t* past, int64_t fresh, int64_t row,
                                  int64_t width, T* cache) {
  const int64_t t = blockIdx.x;
  const int32_t* lane = past + 2 * (t / fresh);
  const int64_t to = int64_t{lane[0]} + lane[1] + t % fresh;
  for (int64_t i = threadIdx.x; i < width; i += blockDim.x) {
    cache[to * width + i] = qkv[t * row + row - width + i];
  }
}

template <int kPerLane, class T>
__global__ void cached_kernel(const T* qkv, const T* cache, const int32_t* past, const float* sinks,
                              int64_t fresh, Layout l, T* y) {
  const int64_t t = int64_t{blockIdx.x} * kWarps + threadIdx.y;
  const int head = static_cast<int>(blockIdx.y);
  if (t >= l.tokens) {
    return;
  }
  const int32_t* lane = past + 2 * (t / fresh);
  const int64_t to = lane[1] + t % fresh + 1;
  const int64_t from = l.window > 0 ? max(int64_t{0}, to - l.window) : 0;
  const int64_t width = int64_t{2} * l.kv_heads * l.d;
  const T* keys = cache + lane[0] * width + head / l.group() * l.d;
  attend<kPerLane>(qkv + t * l.row() + head * l.d, keys, keys + l.kv_heads * l.d, width, from, to,
                   sinks != nullptr ? sinks + head : nullptr, l, {}, t, head,
                   y + (t * l.heads + head) * l.d, static_cast<float*>(nullptr));
}

__global__ void table_kernel(const int32_t* start, int n, int32_t qkv_row, int32_t y_row,
                             int32_t heads, int32_t* table) {
  const int d = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (d < n) {
    table[d] = start[d];
    table[n + d] = d + 1 < n ? start[d + 1] - start[d] : 0;
    table[2 * n + d] = start[d] * qkv_row;
    table[3 * n + d] = start[d] * y_row;
    table[4 * n + d] = start[d] * heads;
  }
}

Layout layout_of(const Tensor& qkv, const Attention& o, int64_t documents) {
  SFT_ASSERT(o.heads.head_dim <= 32 * kMostPerLane);
  return {
      o.heads.heads, o.heads.kv_heads, o.heads.head_dim, o.window,
      o.scale,       qkv.shape[0],     documents,        o.longest > 0 ? o.longest : qkv.shape[0],
      o.cap};
}

PairDropout pair_dropout(const Attention& o, const Tensor& keys, const Tensor& seed) {
  return {keys.i32(), seed.i32(), o.dropout.rate, o.dropout.site};
}

// Whether products on tensor cores may be used: their kernels know no dropout.
bool takes_products(const Attention& o) { return o.dropout.rate == 0.0F; }

// Whether cuDNN's kernels may be used, which know no soft cap either.
bool takes_cudnn(const Attention& o) { return o.cap == 0.0F && takes_products(o); }

FusedAttentionShape fused_shape(const Layout& l, DType type) {
  // Few plans serve many sizes: what counts is the most tokens there can be.
  const int64_t most = std::min(l.documents * l.longest,
                                std::max<int64_t>(16384, std::bit_ceil<uint64_t>(l.tokens)));
  return {l.heads, l.kv_heads, l.d, l.window, l.scale, l.documents, l.longest, most, type};
}

bool takes_hopper(const CudaDevice& gpu, const Heads& heads) {
#ifdef SFT_HOPPER
  return gpu.hopper() && HopperAttention::takes(heads);
#else
  return false;
#endif
}
bool takes_hopper(const CudaDevice& gpu, const Heads& heads, float scale, DType type) {
  return type == DType::bf16 && takes_hopper(gpu, heads) && scale > 0.0F;
}

// Whether our own fused kernels run; `run` gets them.
template <class Run>
bool on_hopper(const CudaDevice& gpu, const Attention& options, const Tensor& qkv,
               const Tensor& table, const Run& run) {
#ifdef SFT_HOPPER
  if (takes_hopper(gpu, options.heads, options.scale, qkv.dtype) && takes_cudnn(options)) {
    run(HopperAttention(gpu.stream(), gpu.multiprocessors(), options, qkv.shape[0], table));
    return true;
  }
#endif
  return false;
}

// Calls f with how many values of a head a lane holds.
template <class F>
void with_per_lane(int d, const F& f) {
  if (d <= 256) {
    f(std::integral_constant<int, 8>{});
  } else {
    f(std::integral_constant<int, kMostPerLane>{});
  }
}

dim3 grid(int64_t tokens, int heads) {
  return {static_cast<unsigned>((tokens + kWarps - 1) / kWarps), static_cast<unsigned>(heads)};
}

void zero_tail(CudaDevice& gpu, const Tensor& table, Tensor& y) {
  with_type(y.dtype, [&](auto type) {
    using T = decltype(type);
    zero_tail_kernel<<<static_cast<unsigned>(gpu.multiprocessors()), 256, 0, gpu.stream()>>>(
        table.i32(), table.shape[1] - 1, y.shape[0], y.shape[1], y.as<T>());
  });
}

}  // namespace

void document_table(Device& device, const Tensor& documents, const Heads& heads,
                    [[maybe_unused]] int64_t tokens, Tensor& table) {
  const auto n = static_cast<int>(documents.shape[0]);
  table_kernel<<<static_cast<unsigned>((n + 127) / 128), 128, 0, cuda(device).stream()>>>(
      documents.i32(), n, static_cast<int32_t>(heads.row()), heads.heads * heads.head_dim,
      heads.heads, table.i32());
#ifdef SFT_HOPPER
  if (takes_hopper(cuda(device), heads)) {
    HopperAttention::list_tiles(cuda(device).stream(), heads, tokens, n - 1, table.i32());
  }
#endif
  check_cuda(cudaGetLastError(), "document_table");
}

void attention_forward(Device& device, const Tensor& qkv, const Tensor& table, const Tensor& keys,
                       const Tensor& seed, const Attention& options, Tensor& y, Tensor& log_sum) {
  CudaDevice& gpu = cuda(device);
  if (on_hopper(gpu, options, qkv, table,
                [&](const auto& kernels) { kernels.forward(qkv, y, log_sum); })) {
    return;
  }
  const Layout l = layout_of(qkv, options, table.shape[1] - 1);
  const PairDropout dropped = pair_dropout(options, keys, seed);
  auto& fused = gpu.state<FusedAttention>();
  if (const auto shape = fused_shape(l, qkv.dtype); takes_cudnn(options) && fused.takes(shape)) {
    fused.forward(shape, qkv, table, y, log_sum);
    zero_tail(gpu, table, y);
  } else {
    with_type(qkv.dtype, [&](auto type) {
      using T = decltype(type);
      if constexpr (sizeof(T) == 2) {
        if (takes_products(options) &&
            mma_forward(gpu, qkv.as<T>(), table.i32(), l, y.as<T>(), log_sum.f32())) {
          return;
        }
      }
      if (tiled_forward(gpu, qkv.as<T>(), table.i32(), l, dropped, y.as<T>(), log_sum.f32())) {
        return;
      }
      with_per_lane(l.d, [&](auto per_lane) {
        forward_kernel<per_lane()><<<grid(l.tokens, l.heads), dim3(32, kWarps), 0, gpu.stream()>>>(
            qkv.as<T>(), table.i32(), l, dropped, y.as<T>(), log_sum.f32());
      });
    });
  }
  check_cuda(cudaGetLastError(), "attention");
}

void attention_backward(Device& device, const Tensor& grad_y, const Tensor& qkv, const Tensor& y,
                        const Tensor& log_sum, const Tensor& table, const Tensor& keys,
                        const Tensor& seed, const Attention& options, Tensor& grad_qkv,
                        Tensor& workspace) {
  CudaDevice& gpu = cuda(device);
  if (on_hopper(gpu, options, qkv, table, [&](const auto& kernels) {
        kernels.backward(grad_y, qkv, y, log_sum, grad_qkv, workspace);
      })) {
    return;
  }
  const Layout l = layout_of(qkv, options, table.shape[1] - 1);
  const PairDropout dropped = pair_dropout(options, keys, seed);
  auto& fused = gpu.state<FusedAttention>();
  if (const auto shape = fused_shape(l, qkv.dtype); takes_cudnn(options) && fused.takes(shape)) {
    fused.backward(shape, grad_y, qkv, y, log_sum, table, grad_qkv);
    zero_tail(gpu, table, grad_qkv);
  } else {
    with_type(qkv.dtype, [&](auto type) {
      using T = decltype(type);
      if constexpr (sizeof(T) == 2) {
        if (takes_products(options) &&
            mma_backward(gpu, grad_y.as<T>(), qkv.as<T>(), y.as<T>(), log_sum.f32(), table.i32(), l,
                         workspace.f32(), grad_qkv.as<T>())) {
          return;
        }
      }
      if (tiled_backward(gpu, grad_y.as<T>(), qkv.as<T>(), y.as<T>(), log_sum.f32(), table.i32(), l,
                         dropped, workspace.f32(), grad_qkv.as<T>())) {
        return;
      }
      with_per_lane(l.d, [&](auto per_lane) {
        const dim3 threads(32, kWarps);
        query_gradient_kernel<per_lane()><<<grid(l.tokens, l.heads), threads, 0, gpu.stream()>>>(
            grad_y.as<T>(), qkv.as<T>(), y.as<T>(), log_sum.f32(), table.i32(), l, dropped,
            grad_qkv.as<T>());
        key_gradient_kernel<per_lane()><<<grid(l.tokens, l.kv_heads), threads, 0, gpu.stream()>>>(
            grad_y.as<T>(), qkv.as<T>(), y.as<T>(), log_sum.f32(), table.i32(), l, dropped,
            grad_qkv.as<T>());
      });
    });
  }
  check_cuda(cudaGetLastError(), "attention.backward");
}

void cached_attention_forward(Device& device, const Tensor& qkv, Tensor& cache, const Tensor& past,
                              const Tensor& sinks, const Attention& options, Tensor& y) {
  CudaDevice& gpu = cuda(device);
  const Layout l = layout_of(qkv, options, 0);
  const int64_t fresh = l.tokens / past.shape[0];  // tokens of each lane
  with_type(qkv.dtype, [&](auto type) {
    using T = decltype(type);
    fill_cache_kernel<<<static_cast<unsigned>(l.tokens), 128, 0, gpu.stream()>>>(
        qkv.as<T>(), past.i32(), fresh, qkv.shape[1], cache.shape[1], cache.as<T>());
    with_per_lane(l.d, [&](auto per_lane) {
      cached_kernel<per_lane()><<<grid(l.tokens, l.heads), dim3(32, kWarps), 0, gpu.stream()>>>(
          qkv.as<T>(), cache.as<T>(), past.i32(), sinks.f32(), fresh, l, y.as<T>());
    });
  });
  check_cuda(cudaGetLastError(), "cached_attention");
}

// cuDNN sums the gradient of the queries in float32, for as many tokens as its plans are made for.
int64_t attention_workspace(Device& device, const Heads& heads, float scale, DType compute,
                            int64_t tokens) {
  if (takes_hopper(cuda(device), heads, scale, compute)) {
    return 0;
  }
  const auto most = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(tokens)));
  const int64_t width = (heads.head_dim + 63) / 64 * 64 + 8;
  return std::max<int64_t>(most, 16384) * heads.heads * width * int64_t{sizeof(float)};
}

}  // namespace sft::gpu
