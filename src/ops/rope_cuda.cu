#include "ops/rope.h"

#include <algorithm>

#include "ops/cuda/rows.cuh"

namespace sft::gpu {

namespace {

constexpr int kMostFrequencies = 256;

// Passed by value, so that recorded work needs no memory for them.
struct Frequencies {
  float inv_freq[kMostFrequencies];
  float long_inv_freq[kMostFrequencies];  // where there are such
  bool has_long;
  int half;
  float factor, dynamic_factor, query_beta;
  int64_t short_length, query_period;
};

// Of token t's document; without a table all tokens are the end of one.
__device__ inline int64_t length_of(const int32_t* start, int64_t columns, const int32_t* positions,
                                    int64_t tokens, int64_t t) {
  if (start == nullptr) {
    return int64_t{positions[tokens - 1]} + 1;
  }
  if (t >= start[columns - 1]) {
    return 0;
  }
  int64_t low = 0;
  int64_t high = columns - 1;  // start[low] <= t < start[high]
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (start[middle] <= t ? low : high) = middle;
  }
  return start[high] - start[low];
}

__device__ inline float frequency(const Frequencies& f, int i, int64_t length) {
  const float usual = f.inv_freq[i];
  if (length <= f.short_length) {
    return usual;
  }
  if (f.dynamic_factor > 0.0F) {
    const double stretch = double{f.dynamic_factor} * static_cast<double>(length) /
                               static_cast<double>(f.short_length) -
                           double{f.dynamic_factor} + 1.0;
    return usual * static_cast<float>(pow(stretch, -2.0 * i / (2.0 * f.half - 2.0)));
  }
  return f.has_long ? f.long_inv_freq[i] : usual;
}

__global__ void table_kernel(const int32_t* positions, int64_t tokens, const int32_t* start,
                             int64_t columns, bool by_length, Frequencies f, int64_t width,
                             float* table) {
  const int64_t t = blockIdx.x;
  const auto position = static_cast<float>(positions[t]);
  const int64_t length = by_length ? length_of(start, columns, positions, tokens, t) : 0;
  const auto periods = static_cast<float>(positions[t] / f.query_period);
  const float scale = 1.0F + f.query_beta * logf(1.0F + periods);
  float* const row = table + t * width;
  for (int i = static_cast<int>(threadIdx.x); i < f.half; i += static_cast<int>(blockDim.x)) {
    float sine = 0.0F;
    float cosine = 0.0F;
    sincosf(position * frequency(f, i, length), &sine, &cosine);
    row[i] = cosine * f.factor;
    row[f.half + i] = sine * f.factor;
    if (f.query_beta > 0.0F) {
      row[2 * f.half + i] = cosine * f.factor * scale;
      row[3 * f.half + i] = sine * f.factor * scale;
    }
  }
}

// Where things lie: of a head the first 2 half values are turned.
struct Places {
  int queries, heads, d, half;
  int64_t row, width;  // of qkv, of the table
  float sign;
  int64_t pieces;
};

// kWide: pairs a thread turns at a time, each half of what is turned apart.
template <int kWide, class T>
__global__ void rotate_kernel(const T* x, const float* table, Places p, T* y) {
  const int64_t piece = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (piece >= p.pieces) {
    return;
  }
  const int per_head = p.half / kWide;
  const int i = static_cast<int>(piece % per_head) * kWide;
  const int head = static_cast<int>(piece / per_head % p.heads);
  const int64_t t = piece / per_head / p.heads;
  const int64_t at = t * p.row + int64_t{head} * p.d + i;
  const float* cosine = table + t * p.width + (head < p.queries ? p.width - 2 * p.half : 0) + i;
  if constexpr (kWide == kVec) {
    const Vec a = load_vec(x + at);
    const Vec b = load_vec(x + at + p.half);
    const Vec c = load_vec(cosine);
    const Vec s = load_vec(cosine + p.half);
    Vec first, second;
#pragma unroll
    for (int k = 0; k < kVec; ++k) {
      first.v[k] = a.v[k] * c.v[k] - b.v[k] * p.sign * s.v[k];
      second.v[k] = b.v[k] * c.v[k] + a.v[k] * p.sign * s.v[k];
    }
    store_vec(y + at, first);
    store_vec(y + at + p.half, second);
  } else {
    const float a = sft::widen(x[at]);
    const float b = sft::widen(x[at + p.half]);
    const float s = p.sign * cosine[p.half];
    y[at] = narrow<T>(a * cosine[0] - b * s);
    y[at + p.half] = narrow<T>(b * cosine[0] + a * s);
  }
}

// The same for pairs of neighbours: a thread turns one.
template <class T>
__global__ void rotate_neighbours_kernel(const T* x, const float* table, Places p, T* y) {
  const int64_t piece = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (piece >= p.pieces) {
    return;
  }
  const int i = static_cast<int>(piece % p.half);
  const int head = static_cast<int>(piece / p.half % p.heads);
  const int64_t t = piece / p.half / p.heads;
  const int64_t at = t * p.row + int64_t{head} * p.d + 2 * i;
  const float* cosine = table + t * p.width + (head < p.queries ? p.width - 2 * p.half : 0) + i;
  const float a = sft::widen(x[at]);
  const float b = sft::widen(x[at + 1]);
  const float s = p.sign * cosine[p.half];
  y[at] = narrow<T>(a * cosine[0] - b * s);
  y[at + 1] = narrow<T>(b * cosine[0] + a * s);
}

}  // namespace

void rope_table_forward(Device& device, const Tensor& positions, const Tensor& documents,
                        const RopeFrequencies& frequencies, Tensor& table) {
  const size_t half = frequencies.inv_freq.size();
  SFT_ASSERT(half <= kMostFrequencies);
  Frequencies f{};
  std::copy(frequencies.inv_freq.begin(), frequencies.inv_freq.end(), f.inv_freq);
  std::copy(frequencies.long_inv_freq.begin(), frequencies.long_inv_freq.end(), f.long_inv_freq);
  f.has_long = !frequencies.long_inv_freq.empty();
  f.half = static_cast<int>(half);
  f.factor = frequencies.attention_factor;
  f.dynamic_factor = frequencies.dynamic_factor;
  f.query_beta = frequencies.query_beta;
  f.short_length = frequencies.short_length;
  f.query_period = frequencies.query_period;
  const int64_t tokens = positions.shape[0];
  const int64_t columns = documents.data != nullptr ? documents.shape.dims().back() : 0;
  table_kernel<<<static_cast<unsigned>(tokens), 64, 0, cuda(device).stream()>>>(
      positions.i32(), tokens, documents.i32(), columns, frequencies.by_length(), f, table.shape[1],
      table.f32());
  check_cuda(cudaGetLastError(), "rope_table");
}

void rope_rotate(Device& device, const Tensor& x, const Tensor& table, const Rotation& rotation,
                 int64_t rotated, bool inverse, Tensor& y) {
  const cudaStream_t stream = cuda(device).stream();
  const Heads& heads = rotation.heads;
  const size_t width = size_of(x.dtype);
  const int turned = heads.heads + heads.kv_heads;
  Places p{heads.heads, turned,         heads.head_dim,         static_cast<int>(rotated / 2),
           heads.row(), table.shape[1], inverse ? -1.0F : 1.0F, 0};
  // What is not turned.
  if (x.data != y.data && rotated < heads.head_dim) {
    check_cuda(cudaMemcpyAsync(y.data, x.data, x.bytes(), cudaMemcpyDeviceToDevice, stream),
               "rope");
  } else if (x.data != y.data) {
    const size_t pitch = static_cast<size_t>(heads.row()) * width;
    const size_t skip = static_cast<size_t>(turned) * heads.head_dim * width;
    check_cuda(cudaMemcpy2DAsync(y.as<std::byte>() + skip, pitch, x.as<std::byte>() + skip, pitch,
                                 pitch - skip, static_cast<size_t>(x.shape[0]),
                                 cudaMemcpyDeviceToDevice, stream),
               "rope");
  }
  const bool wide = !rotation.interleaved && p.half % kVec == 0 && heads.head_dim % kVec == 0;
  p.pieces = x.shape[0] * turned * (wide ? p.half / kVec : p.half);
  constexpr int kThreads = 256;
  const auto blocks = static_cast<unsigned>((p.pieces + kThreads - 1) / kThreads);
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    const auto kernel = rotation.interleaved ? rotate_neighbours_kernel<T>
                        : wide               ? rotate_kernel<kVec, T>
                                             : rotate_kernel<1, T>;
    kernel<<<blocks, kThreads, 0, stream>>>(x.as<T>(), table.f32(), p, y.as<T>());
  });
  check_cuda(cudaGetLastError(), "rope");
}

}  // namespace sft::gpu
