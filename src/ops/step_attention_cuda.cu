#include "ops/step_attention.h"

// A block takes a share of a text's keys, and one or two of the query heads that read them; the
// warps of a head, its parts, take turns at the keys. A key lies across the lanes that hold 8 of
// its values each, so that a warp looks at several at a time; each such slot has a running softmax
// of its own, and parts are added up in shared memory. Of a share of kShareValues all keys are on
// their way before the kernel before this one ends. Short texts have one share. What the shares of
// longer ones give is added up by the warp that is the last to be done, always in the same order.
// The new token's keys and values go into the cache on the way.
#include <algorithm>

#include "device/cuda/launch.cuh"
#include "device/cuda/vec.cuh"

namespace sft::gpu {

namespace {

constexpr int kMostHeads = 2;  // of a block
constexpr int kParts = 8;      // warps of a head
constexpr int kMostWarps = kMostHeads * kParts;
constexpr int kShareValues = 8192;  // of the keys of a share, at least, where there are several
constexpr int kMostShares = 64;
constexpr int kAhead = 4;  // keys that a slot has under way
static_assert(kShareValues == kParts * kAhead * 32 * kVec);

// How many shares of a text and head are done; zero between two launches.
class Arrivals {
 public:
  static constexpr int64_t kMost = 1 << 16;
  explicit Arrivals(CudaDevice& device) : buffer_(device.allocate(kMost * sizeof(int32_t))) {}
  int32_t* counts() const { return reinterpret_cast<int32_t*>(buffer_.data()); }

 private:
  Buffer buffer_;
};

struct Places {
  int heads, kv_heads, d;
  int blocks_of_heads;  // for the query heads of a key head
  int heads_here;       // of a block
  int shares;
  int window;
  int half;             // of what is rotated; 0: nothing
  int64_t table_width;  // of a row of the rope's table
  float scale, cap;

  __device__ int group() const { return heads / kv_heads; }
  __device__ int64_t row() const { return int64_t{heads + 2 * kv_heads} * d; }
  __device__ int64_t cache_row() const { return int64_t{2} * kv_heads * d; }
};

// 8 values of a head from column i on as they are loaded, and then rotated, and rounded as they
// would be kept.
template <class T>
struct Turning {
  Vec a, other{}, c{}, s{};
  bool turns, low;
  __device__ Turning(const T* head, int i, const float* angles, int half)
      : a(load_vec(head + i)), turns(i < 2 * half), low(i < half) {
    if (turns) {
      other = load_vec(head + (low ? i + half : i - half));
      c = load_vec(angles + (low ? i : i - half));
      s = load_vec(angles + half + (low ? i : i - half));
    }
  }
  __device__ Vec values() const {
    Vec out = a;
#pragma unroll
    for (int k = 0; turns && k < kVec; ++k) {
      out.v[k] =
          low ? a.v[k] * c.v[k] - other.v[k] * s.v[k] : a.v[k] * c.v[k] + other.v[k] * s.v[k];
      out.v[k] = sft::widen(narrow<T>(out.v[k]));
    }
    return out;
  }
};

// Factors of two sums whose largest scores are these.
__device__ inline float2 shares_of_top(float a, float b) {
  const float now = fmaxf(a, b);
  return now == -INFINITY ? float2{0.0F, 0.0F} : float2{__expf(a - now), __expf(b - now)};
}

// Joins what the slots of a warp have of a head; `lanes` lanes are a slot.
__device__ inline void join_slots(int lanes, float& top, float& sum, Vec& mean) {
  for (int w = lanes; w < 32; w *= 2) {
    const float other = __shfl_xor_sync(0xffffffffU, top, w);
    const float2 f = shares_of_top(top, other);
    sum = sum * f.x + __shfl_xor_sync(0xffffffffU, sum, w) * f.y;
#pragma unroll
    for (int c = 0; c < kVec; ++c) {
      mean.v[c] = mean.v[c] * f.x + __shfl_xor_sync(0xffffffffU, mean.v[c], w) * f.y;
    }
    top = fmaxf(top, other);
  }
}

// By a warp, with what it has of the keys of a share: the answer where there is one share, else the
// share's part, and by the last of them all parts together.
template <class T>
__device__ inline void finish_share(const Places& s, int64_t place, int share, int used, float top,
                                    float sum, Vec mean, float* shares, float2* ends,
                                    int32_t* arrivals, T* y) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int lanes = s.d / kVec;  // of a key
  const int i = lane % lanes * kVec;
  if (used == 1) {
    if (lane < lanes) {
#pragma unroll
      for (int c = 0; c < kVec; ++c) {
        mean.v[c] /= sum;
      }
      store_vec(y + place * s.d + i, mean);
    }
    return;
  }
  if (lane < lanes) {
    store_vec(shares + (place * s.shares + share) * s.d + i, mean);
  }
  if (lane == 0) {
    ends[place * s.shares + share] = {top, sum};
  }
  __threadfence();
  __syncwarp();
  int done = 0;
  if (lane == 0) {
    done = atomicAdd(arrivals + place, 1);
  }
  if (__shfl_sync(0xffffffffU, done, 0) != used - 1) {
    return;
  }
  __threadfence();
  const auto end_of = [&](int n) {
    return n < used ? __ldcg(ends + place * s.shares + n) : float2{-INFINITY, 0.0F};
  };
  const float2 first = end_of(lane);
  const float2 second = end_of(lane + 32);
  float most = fmaxf(first.x, second.x);
#pragma unroll
  for (int w = 16; w > 0; w /= 2) {
    most = fmaxf(most, __shfl_xor_sync(0xffffffffU, most, w));
  }
  const float weight = __expf(first.x - most);
  const float weight_32 = __expf(second.x - most);
  const float total = warp_sum(weight * first.y + weight_32 * second.y);
  for (int column = 0; column < s.d; column += 32) {
    const bool live = column + lane < s.d;
    const float* const part = shares + place * s.shares * s.d + column + lane;
    float all = 0.0F;
#pragma unroll 8
    for (int n = 0; n < used; ++n) {
      const float f = __shfl_sync(0xffffffffU, n < 32 ? weight : weight_32, n % 32);
      all += live ? f * __ldcg(part + int64_t{n} * s.d) : 0.0F;
    }
    if (live) {
      y[place * s.d + column + lane] = narrow<T>(all / total);
    }
  }
  if (lane == 0) {
    arrivals[place] = 0;
  }
}

// A slot's keys under way, and their values.
template <class T>
struct Held {
  Packed<T> keys[kAhead], values[kAhead];
};

template <class T>
__global__ void __launch_bounds__(32 * kMostWarps)
    step_kernel(const T* qkv, const float* table, T* cache, const int32_t* past, const Places s,
                float* shares, float2* ends, int32_t* arrivals, T* y) {
  let_next_begin();
  const int share = static_cast<int>(blockIdx.x);
  const int kv = static_cast<int>(blockIdx.y) / s.blocks_of_heads;
  const int piece = static_cast<int>(blockIdx.y) % s.blocks_of_heads;
  const int text = static_cast<int>(blockIdx.z);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int in_group = piece * s.heads_here + warp / kParts;
  const int part = warp % kParts;
  // Where texts are, and the keys before the new one, are there since the run before this one.
  const int64_t before = past[2 * text + 1];
  const int64_t from = s.window > 0 ? max(int64_t{0}, before + 1 - s.window) : 0;
  const int64_t length = before + 1 - from;
  const int64_t keys = max((length + s.shares - 1) / s.shares, int64_t{kShareValues / s.d});
  const int used = static_cast<int>((length + keys - 1) / keys);
  const int64_t begin = from + share * keys;
  const int64_t end = min(begin + keys, before + 1);
  const int lanes = s.d / kVec;  // of a key
  const int slots = 32 / lanes;  // keys of a warp
  const int i = lane % lanes * kVec;
  T* const lane_keys = cache + past[2 * text] * s.cache_row() + int64_t{kv} * s.d + i;
  const int64_t values_at = int64_t{s.kv_heads} * s.d;
  const auto fetch = [&](int64_t base, Held<T>& held) {
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const int64_t key = base + j * slots + lane / lanes;
      if (key < min(end, before)) {
        const T* const at = lane_keys + key * s.cache_row();
        held.keys[j] = *reinterpret_cast<const Packed<T>*>(at);
        held.values[j] = *reinterpret_cast<const Packed<T>*>(at + values_at);
      }
    }
  };
  const int64_t step = int64_t{kAhead} * slots;
  const int64_t stride = step * kParts;
  const int64_t own = begin + part * step;
  Held<T> held{};
  fetch(own, held);
  // Those of long shares behind these come near meanwhile.
  if (in_group % s.heads_here == 0) {
    constexpr int kLine = 128 / (kVec * sizeof(T));  // lanes
    for (int64_t base = own + stride; base < min(end, before); base += stride) {
#pragma unroll
      for (int j = 0; j < kAhead; ++j) {
        const int64_t key = base + j * slots + lane / lanes;
        if (key < min(end, before) && lane % kLine == 0) {
          bring_near(lane_keys + key * s.cache_row());
          bring_near(lane_keys + key * s.cache_row() + values_at);
        }
      }
    }
  }
  wait_for_previous();
  if (share >= used) {
    return;
  }
  const bool live = in_group < s.group();
  const int head = kv * s.group() + (live ? in_group : 0);
  const T* const row = qkv + text * s.row();
  const float* const angles = table + text * s.table_width;
  const T* const fresh = row + int64_t{s.heads + kv} * s.d;
  const Turning<T> fresh_query(row + int64_t{head} * s.d, i, angles + s.table_width - 2 * s.half,
                               s.half);
  const Turning<T> fresh_key(fresh, i, angles, s.half);
  const Packed<T> fresh_value = *reinterpret_cast<const Packed<T>*>(fresh + values_at + i);
  const Vec query = fresh_query.values();
  float top = -INFINITY;
  float sum = 0.0F;
  Vec mean{};
  for (int64_t base = own; live && base < end; base += stride) {
    float scores[kAhead];
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const int64_t key = base + j * slots + lane / lanes;
      if (key == before) {
        held.keys[j] = pack<T>(fresh_key.values());
        held.values[j] = fresh_value;
        if (in_group == 0) {
          *reinterpret_cast<Packed<T>*>(lane_keys + key * s.cache_row()) = held.keys[j];
          *reinterpret_cast<Packed<T>*>(lane_keys + key * s.cache_row() + values_at) = fresh_value;
        }
      }
      const Vec k = unpack(held.keys[j]);
      scores[j] = 0.0F;
#pragma unroll
      for (int c = 0; c < kVec; ++c) {
        scores[j] += query.v[c] * k.v[c];
      }
    }
    for (int w = lanes / 2; w > 0; w /= 2) {
#pragma unroll
      for (int j = 0; j < kAhead; ++j) {
        scores[j] += __shfl_xor_sync(0xffffffffU, scores[j], w);
      }
    }
    float now = top;
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const float scaled = scores[j] * s.scale;
      const float score = s.cap > 0.0F ? s.cap * tanhf(scaled / s.cap) : scaled;
      scores[j] = base + j * slots + lane / lanes < end ? score : -INFINITY;
      now = fmaxf(now, scores[j]);
    }
    if (now > -INFINITY) {
      const float shrink = __expf(top - now);
      sum *= shrink;
#pragma unroll
      for (int c = 0; c < kVec; ++c) {
        mean.v[c] *= shrink;
      }
#pragma unroll
      for (int j = 0; j < kAhead; ++j) {
        const float p = __expf(scores[j] - now);
        const Vec v = unpack(held.values[j]);
        sum += p;
#pragma unroll
        for (int c = 0; c < kVec; ++c) {
          mean.v[c] += p > 0.0F ? p * v.v[c] : 0.0F;
        }
      }
      top = now;
    }
    fetch(base + stride, held);
  }
  join_slots(lanes, top, sum, mean);
  extern __shared__ float means[];
  __shared__ float2 tops[kMostWarps];
  if (lane < lanes) {
    store_vec(means + warp * s.d + i, mean);
  }
  if (lane == 0) {
    tops[warp] = {top, sum};
  }
  __syncthreads();
  if (part > 0 || !live) {
    return;
  }
#pragma unroll
  for (int n = 1; n < kParts; ++n) {
    const float2 other = tops[warp + n];
    const float2 f = shares_of_top(top, other.x);
    const Vec v = load_vec(means + (warp + n) * s.d + i);
    sum = sum * f.x + other.y * f.y;
#pragma unroll
    for (int c = 0; c < kVec; ++c) {
      mean.v[c] = mean.v[c] * f.x + v.v[c] * f.y;
    }
    top = fmaxf(top, other.x);
  }
  finish_share(s, int64_t{text} * s.heads + head, share, used, top, sum, mean, shares, ends,
               arrivals, y);
}

// For long texts, and many: a warp has a query head and all keys of a share, so that a key is read
// by few blocks. Those behind the ones that it looks at are on their way.
constexpr int kLongWarps = 8;
// 8 values of a head from column i on, rotated, and rounded as they would be kept.
template <class T>
__device__ Vec turned(const T* head, int i, const float* angles, int half) {
  Vec a = load_vec(head + i);
  if (i < 2 * half) {
    const bool low = i < half;
    const Vec other = load_vec(head + (low ? i + half : i - half));
    const Vec c = load_vec(angles + (low ? i : i - half));
    const Vec s = load_vec(angles + half + (low ? i : i - half));
#pragma unroll
    for (int k = 0; k < kVec; ++k) {
      a.v[k] = low ? a.v[k] * c.v[k] - other.v[k] * s.v[k] : a.v[k] * c.v[k] + other.v[k] * s.v[k];
      a.v[k] = sft::widen(narrow<T>(a.v[k]));
    }
  }
  return a;
}

template <class T>
__global__ void __launch_bounds__(32 * kLongWarps)
    long_kernel(const T* qkv, const float* table, T* cache, const int32_t* past, const Places s,
                float* shares, float2* ends, int32_t* arrivals, T* y) {
  let_next_begin();
  const int share = static_cast<int>(blockIdx.x);
  const int kv = static_cast<int>(blockIdx.y) / s.blocks_of_heads;
  const int piece = static_cast<int>(blockIdx.y) % s.blocks_of_heads;
  const int text = static_cast<int>(blockIdx.z);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int in_group = piece * static_cast<int>(blockDim.x) / 32 + warp;
  // Where texts are, and the keys before the new one, are there since the run before this one.
  const int64_t before = past[2 * text + 1];
  const int64_t from = s.window > 0 ? max(int64_t{0}, before + 1 - s.window) : 0;
  const int64_t length = before + 1 - from;
  const int64_t keys = max((length + s.shares - 1) / s.shares, int64_t{kShareValues / s.d});
  const int used = static_cast<int>((length + keys - 1) / keys);
  const int64_t begin = from + share * keys;
  const int64_t end = min(begin + keys, before + 1);
  const int lanes = s.d / kVec;  // of a key
  const int slots = 32 / lanes;  // keys of a warp
  const int i = lane % lanes * kVec;
  T* const lane_keys = cache + past[2 * text] * s.cache_row() + int64_t{kv} * s.d + i;
  const int64_t values_at = int64_t{s.kv_heads} * s.d;
  const auto fetch = [&](int64_t base, Held<T>& held) {
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const int64_t key = base + j * slots + lane / lanes;
      if (key < min(end, before)) {
        const T* const at = lane_keys + key * s.cache_row();
        held.keys[j] = *reinterpret_cast<const Packed<T>*>(at);
        held.values[j] = *reinterpret_cast<const Packed<T>*>(at + values_at);
      }
    }
  };
  Held<T> held{}, next{};
  fetch(begin, held);
  wait_for_previous();
  if (share >= used || in_group >= s.group()) {
    return;
  }
  const int head = kv * s.group() + in_group;
  const T* const row = qkv + text * s.row();
  const float* const angles = table + text * s.table_width;
  const Vec query =
      turned(row + int64_t{head} * s.d, i, angles + s.table_width - 2 * s.half, s.half);
  float top = -INFINITY;
  float sum = 0.0F;
  Vec mean{};
  const int64_t step = int64_t{kAhead} * slots;
  for (int64_t base = begin; base < end; base += step) {
    fetch(base + step, next);
    float scores[kAhead];
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const int64_t key = base + j * slots + lane / lanes;
      if (key == before) {
        const T* const fresh = row + int64_t{s.heads + kv} * s.d;
        const Vec k = turned(fresh, i, angles, s.half);
        held.keys[j] = pack<T>(k);
        held.values[j] = *reinterpret_cast<const Packed<T>*>(fresh + values_at + i);
        if (in_group == 0) {
          *reinterpret_cast<Packed<T>*>(lane_keys + key * s.cache_row()) = held.keys[j];
          *reinterpret_cast<Packed<T>*>(lane_keys + key * s.cache_row() + values_at) =
              held.values[j];
        }
      }
      const Vec k = unpack(held.keys[j]);
      scores[j] = 0.0F;
#pragma unroll
      for (int c = 0; c < kVec; ++c) {
        scores[j] += query.v[c] * k.v[c];
      }
    }
    for (int w = lanes / 2; w > 0; w /= 2) {
#pragma unroll
      for (int j = 0; j < kAhead; ++j) {
        scores[j] += __shfl_xor_sync(0xffffffffU, scores[j], w);
      }
    }
    float now = top;
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const float scaled = scores[j] * s.scale;
      const float score = s.cap > 0.0F ? s.cap * tanhf(scaled / s.cap) : scaled;
      scores[j] = base + j * slots + lane / lanes < end ? score : -INFINITY;
      now = fmaxf(now, scores[j]);
    }
    if (now > -INFINITY) {
      const float shrink = __expf(top - now);
      sum *= shrink;
#pragma unroll
      for (int c = 0; c < kVec; ++c) {
        mean.v[c] *= shrink;
      }
#pragma unroll
      for (int j = 0; j < kAhead; ++j) {
        const float p = __expf(scores[j] - now);
        const Vec v = unpack(held.values[j]);
        sum += p;
#pragma unroll
        for (int c = 0; c < kVec; ++c) {
          mean.v[c] += p > 0.0F ? p * v.v[c] : 0.0F;
        }
      }
      top = now;
    }
    held = next;
  }
  join_slots(lanes, top, sum, mean);
  finish_share(s, int64_t{text} * s.heads + head, share, used, top, sum, mean, shares, ends,
               arrivals, y);
}

}  // namespace

void step_attention_forward(Device& device, const Tensor& qkv, const Tensor& table, int64_t rotated,
                            Tensor& cache, const Tensor& past, const Attention& options, Tensor& y,
                            Tensor& workspace) {
  CudaDevice& gpu = cuda(device);
  const Heads& heads = options.heads;
  const int group = heads.heads / heads.kv_heads;
  Places s{};
  s.heads = heads.heads;
  s.kv_heads = heads.kv_heads;
  s.d = heads.head_dim;
  s.shares = static_cast<int>(workspace.shape[2]);
  s.window = options.window;
  s.half = table.data == nullptr ? 0 : static_cast<int>(rotated / 2);
  s.table_width = table.data == nullptr ? 0 : table.shape[1];
  s.scale = options.scale;
  s.cap = options.cap;
  // Where all blocks have room at one time, latency is what counts.
  const auto share_out = [&](int most_heads) {
    s.heads_here = std::min(group, most_heads);
    s.blocks_of_heads = (group + s.heads_here - 1) / s.heads_here;
  };
  share_out(kMostHeads);
  const int64_t used = std::min<int64_t>(
      s.shares, cache.shape[0] / qkv.shape[0] * heads.head_dim / kShareValues + 1);
  const bool is_long =
      qkv.shape[0] * used * heads.kv_heads * s.blocks_of_heads > gpu.multiprocessors();
  if (is_long) {
    share_out(kLongWarps);
  }
  const auto texts = static_cast<unsigned>(qkv.shape[0]);
  const auto columns = static_cast<unsigned>(heads.kv_heads * s.blocks_of_heads);
  SFT_ASSERT(s.shares <= kMostShares && qkv.shape[0] * s.heads <= Arrivals::kMost);
  int32_t* const arrivals = gpu.state<Arrivals>().counts();
  // The shares' sums, and behind all of them their ends.
  float* const sums = workspace.f32();
  auto* const ends =
      reinterpret_cast<float2*>(sums + qkv.shape[0] * s.heads * s.shares * int64_t{s.d});
  const dim3 grid(static_cast<unsigned>(s.shares), columns, texts);
  with_type(qkv.dtype, [&](auto type) {
    using T = decltype(type);
    const auto launch = [&](auto* kernel, int warps, size_t shared) {
      launch_in_chain(gpu, kernel, grid, 32 * warps, shared, qkv.as<T>(), table.f32(),
                      cache.as<T>(), past.i32(), s, sums, ends, arrivals, y.as<T>());
    };
    if (is_long) {
      launch(long_kernel<T>, s.heads_here, 0);
    } else {
      const int warps = s.heads_here * kParts;
      launch(step_kernel<T>, warps, sizeof(float) * static_cast<size_t>(warps * s.d));
    }
  });
}

}  // namespace sft::gpu
