#include "ops/rope.h"

#include <algorithm>

#include "ops/cuda/rows.cuh"

namespace sft::gpu {

namespace {

constexpr int kMostFrequencies = 256;

// Passed by value, so that recorded work needs no memory for them.
struct Frequencies {
  float inv_freq[kMostFrequencies];
};

__global__ void table_kernel(const int32_t* positions, Frequencies f, int half, float factor,
                             float* table) {
  const int64_t t = blockIdx.x;
  const auto position = static_cast<float>(positions[t]);
  for (int i = static_cast<int>(threadIdx.x); i < half; i += static_cast<int>(blockDim.x)) {
    float sine = 0.0F;
    float cosine = 0.0F;
    sincosf(position * f.inv_freq[i], &sine, &cosine);
    table[t * 2 * half + i] = cosine * factor;
    table[t * 2 * half + half + i] = sine * factor;
  }
}

// kWide: values a thread turns at a time.
template <int kWide, class T>
__global__ void rotate_kernel(const T* x, const float* table, int heads, int row, int half,
                              float sign, int64_t pieces, T* y) {
  const int64_t piece = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (piece >= pieces) {
    return;
  }
  const int per_head = half / kWide;
  const int i = static_cast<int>(piece % per_head) * kWide;
  const int head = static_cast<int>(piece / per_head % heads);
  const int64_t t = piece / per_head / heads;
  const int64_t at = t * row + int64_t{head} * 2 * half + i;
  const float* cosine = table + t * 2 * half + i;
  if constexpr (kWide == kVec) {
    const Vec a = load_vec(x + at);
    const Vec b = load_vec(x + at + half);
    const Vec c = load_vec(cosine);
    const Vec s = load_vec(cosine + half);
    Vec p, q;
#pragma unroll
    for (int k = 0; k < kVec; ++k) {
      p.v[k] = a.v[k] * c.v[k] - b.v[k] * sign * s.v[k];
      q.v[k] = b.v[k] * c.v[k] + a.v[k] * sign * s.v[k];
    }
    store_vec(y + at, p);
    store_vec(y + at + half, q);
  } else {
    const float a = sft::widen(x[at]);
    const float b = sft::widen(x[at + half]);
    const float s = sign * cosine[half];
    y[at] = narrow<T>(a * cosine[0] - b * s);
    y[at + half] = narrow<T>(b * cosine[0] + a * s);
  }
}

}  // namespace

void rope_table_forward(Device& device, const Tensor& positions, const RopeFrequencies& frequencies,
                        Tensor& table) {
  const size_t half = frequencies.inv_freq.size();
  SFT_ASSERT(half <= kMostFrequencies);
  Frequencies f{};
  std::copy(frequencies.inv_freq.begin(), frequencies.inv_freq.end(), f.inv_freq);
  table_kernel<<<static_cast<unsigned>(positions.shape[0]), 64, 0, cuda(device).stream()>>>(
      positions.i32(), f, static_cast<int>(half), frequencies.attention_factor, table.f32());
  check_cuda(cudaGetLastError(), "rope_table");
}

void rope_rotate(Device& device, const Tensor& x, const Tensor& table, const Heads& heads,
                 bool inverse, Tensor& y) {
  const cudaStream_t stream = cuda(device).stream();
  const int half = heads.head_dim / 2;
  const int rotated = heads.heads + heads.kv_heads;
  const bool wide = half % kVec == 0;
  const int64_t pieces = x.shape[0] * rotated * (wide ? half / kVec : half);
  constexpr int kThreads = 256;
  const auto blocks = static_cast<unsigned>((pieces + kThreads - 1) / kThreads);
  const float sign = inverse ? -1.0F : 1.0F;
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    const auto kernel = wide ? rotate_kernel<kVec, T> : rotate_kernel<1, T>;
    kernel<<<blocks, kThreads, 0, stream>>>(x.as<T>(), table.f32(), rotated,
                                            static_cast<int>(heads.row()), half, sign, pieces,
                                            y.as<T>());
  });
  check_cuda(cudaGetLastError(), "rope");
  if (x.data != y.data) {
    const size_t width = size_of(x.dtype);
    const size_t pitch = static_cast<size_t>(heads.row()) * width;
    const size_t skip = static_cast<size_t>(rotated) * heads.head_dim * width;
    check_cuda(cudaMemcpy2DAsync(y.as<std::byte>() + skip, pitch, x.as<std::byte>() + skip, pitch,
                                 pitch - skip, static_cast<size_t>(x.shape[0]),
                                 cudaMemcpyDeviceToDevice, stream),
               "rope");
  }
}

}  // namespace sft::gpu
