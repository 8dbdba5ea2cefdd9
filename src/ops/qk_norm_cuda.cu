#include "ops/qk_norm.h"

// Queries, keys and values of all tokens are worked on by blocks of their own. In a block a team of
// lanes takes a head, a vector each or two, and the next head is on its way while one is worked on.
#include <algorithm>
#include <type_traits>

#include "device/cuda/scratch.h"
#include "ops/cuda/norm_rows.h"
#include "ops/cuda/rows.cuh"

namespace sft::gpu {

namespace {

constexpr int kThreads = 256;
template <int kTeam>
constexpr int kTeams = kThreads / kTeam;
constexpr int kBlocks = 3;  // of a multiprocessor

// The queries, the keys or the values.
struct Part {
  int first = 0, heads = 0;       // of a row
  const float* weight = nullptr;  // values have none
  bool normed = true;
  int blocks = 0;
  float* sums = nullptr;  // (blocks, d): parts of the weight's gradient
};

struct Layout {
  Part queries, keys, values;
  int d;
  int64_t row, tokens;
  float eps, offset;

  __device__ Part part(int& block) const {
    if (block < queries.blocks) {
      return queries;
    }
    block -= queries.blocks;
    if (block < keys.blocks) {
      return keys;
    }
    block -= keys.blocks;
    return values;
  }
  // Of a token and a head of a part, in a row and among the heads that are normalised.
  __device__ int64_t place(const Part& p, int64_t t, int h) const {
    return t * row + int64_t{p.first + h} * d;
  }
  __device__ int64_t norm(const Part& p, int64_t t, int h) const {
    return t * (queries.heads + keys.heads + (values.normed ? values.heads : 0)) + p.first + h;
  }
};

// A part's heads of all tokens, `step` of them apart.
struct Walk {
  int64_t t, step_t;
  int h, step_h, heads;

  __device__ Walk(int64_t first, int64_t step, int of)
      : t(first / of),
        step_t(step / of),
        h(static_cast<int>(first % of)),
        step_h(static_cast<int>(step % of)),
        heads(of) {}
  __device__ void next() {
    t += step_t;
    h += step_h;
    if (h >= heads) {
      h -= heads;
      ++t;
    }
  }
};

template <int kTeam>
__device__ inline float team_sum(float x) {
#pragma unroll
  for (int lane = kTeam / 2; lane > 0; lane /= 2) {
    x += __shfl_xor_sync(0xffffffffU, x, lane);
  }
  return x;
}

// A lane's part of offset + weight; 1 where there is no weight.
__device__ inline Vec scales_of(const Part& p, const Layout& l, int i, bool aligned) {
  Vec scales{};
  if (p.weight != nullptr && i < l.d) {
    scales = load_row(p.weight, i, l.d, aligned);
  }
#pragma unroll
  for (int j = 0; j < kVec; ++j) {
    scales.v[j] = p.weight != nullptr ? scales.v[j] + l.offset : 1.0F;
  }
  return scales;
}

// What a lane works on: its block's part, its kHeld vectors of each head, the heads of its team.
template <int kTeam, int kHeld>
struct Lane {
  int block;  // of the part's
  Part part;
  bool aligned;
  int first;
  Vec scales[kHeld];
  int64_t step;
  Walk heads;

  __device__ explicit Lane(const Layout& l)
      : block(static_cast<int>(blockIdx.x)),
        part(l.part(block)),
        aligned(l.d % kVec == 0),
        first(static_cast<int>(threadIdx.x) % kTeam * kVec),
        step(int64_t{part.blocks} * kTeams<kTeam>),
        heads(int64_t{block} * kTeams<kTeam> + static_cast<int>(threadIdx.x) / kTeam, step,
              part.heads) {
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      scales[k] = scales_of(part, l, column(k), aligned);
    }
  }
  __device__ int column(int k) const { return first + k * kTeam * kVec; }
};

template <int kTeam, int kHeld, class T>
__global__ void __launch_bounds__(kThreads, kBlocks)
    forward_kernel(const T* qkv, const Layout l, T* y, float* rstd) {
  const Lane<kTeam, kHeld> lane(l);
  const Part& part = lane.part;
  Walk at = lane.heads;
  struct Head {
    Packed<T> x[kHeld];
  };
  const auto load = [&] {
    Head head{};
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      if (at.t < l.tokens && lane.column(k) < l.d) {
        head.x[k] = load_packed(qkv + l.place(part, at.t, at.h), lane.column(k), l.d, lane.aligned);
      }
    }
    return head;
  };
  Head next = load();
  for (int64_t base = 0; base < l.tokens * part.heads;
       base += lane.step) {  // the same for all: team_sum
    const Head held = next;
    const int64_t t = at.t;
    const int h = at.h;
    at.next();
    next = load();
    Vec x[kHeld];
    float squares = 0.0F;
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      x[k] = unpack(held.x[k]);
#pragma unroll
      for (int j = 0; j < kVec; ++j) {
        squares += x[k].v[j] * x[k].v[j];
      }
    }
    if (part.normed) {
      const float r = rsqrtf(team_sum<kTeam>(squares) / static_cast<float>(l.d) + l.eps);
      if (t < l.tokens && lane.first == 0) {
        rstd[l.norm(part, t, h)] = r;
      }
#pragma unroll
      for (int k = 0; k < kHeld; ++k) {
#pragma unroll
        for (int j = 0; j < kVec; ++j) {
          x[k].v[j] *= r * lane.scales[k].v[j];
        }
      }
    }
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      if (t < l.tokens && lane.column(k) < l.d) {
        store_row(y + l.place(part, t, h), lane.column(k), l.d, lane.aligned, x[k]);
      }
    }
  }
}

// grad_x = rstd (w g - x rstd^2 mean(w g x)) for each head, as in rmsnorm.
template <int kTeam, int kHeld, class T>
__global__ void __launch_bounds__(kThreads, kHeld == 1 ? kBlocks : 2)
    backward_kernel(const T* grad_y, const T* qkv, const float* rstd, const Layout l, T* grad_qkv) {
  const Lane<kTeam, kHeld> lane(l);
  const Part& part = lane.part;
  Walk at = lane.heads;
  struct Head {
    Packed<T> x[kHeld], g[kHeld];
    float r;
  };
  const auto load = [&] {
    Head head{};
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      if (at.t < l.tokens && lane.column(k) < l.d) {
        const int64_t place = l.place(part, at.t, at.h);
        head.g[k] = load_packed(grad_y + place, lane.column(k), l.d, lane.aligned);
        if (part.normed) {
          head.x[k] = load_packed(qkv + place, lane.column(k), l.d, lane.aligned);
          head.r = rstd[l.norm(part, at.t, at.h)];
        }
      }
    }
    return head;
  };
  Vec sums[kHeld] = {};
  Head next = load();
  for (int64_t base = 0; base < l.tokens * part.heads;
       base += lane.step) {  // the same for all: team_sum
    const Head held = next;
    const int64_t t = at.t;
    const int h = at.h;
    at.next();
    next = load();
    Vec g[kHeld];
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      g[k] = unpack(held.g[k]);
    }
    if (part.normed) {
      float dot = 0.0F;
#pragma unroll
      for (int k = 0; k < kHeld; ++k) {
        const Vec x = unpack(held.x[k]);
#pragma unroll
        for (int j = 0; j < kVec; ++j) {
          const float product = g[k].v[j] * x.v[j];
          sums[k].v[j] += product * held.r;
          dot += product * lane.scales[k].v[j];
        }
      }
      const float mean = team_sum<kTeam>(dot) * held.r * held.r / static_cast<float>(l.d);
#pragma unroll
      for (int k = 0; k < kHeld; ++k) {
        const Vec x = unpack(held.x[k]);
#pragma unroll
        for (int j = 0; j < kVec; ++j) {
          g[k].v[j] = held.r * (g[k].v[j] * lane.scales[k].v[j] - x.v[j] * mean);
        }
      }
    }
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      if (t < l.tokens && lane.column(k) < l.d) {
        store_row(grad_qkv + l.place(part, t, h), lane.column(k), l.d, lane.aligned, g[k]);
      }
    }
  }
  if (part.sums == nullptr) {
    return;  // the whole block
  }
  __shared__ float teams_sums[kTeams<kTeam>][kTeam * kHeld * kVec];
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      teams_sums[threadIdx.x / kTeam][lane.column(k) + j] = sums[k].v[j];
    }
  }
  __syncthreads();
  for (int column = static_cast<int>(threadIdx.x); column < l.d; column += kThreads) {
    float total = 0.0F;
#pragma unroll
    for (int team = 0; team < kTeams<kTeam>; ++team) {
      total += teams_sums[team][column];
    }
    part.sums[int64_t{lane.block} * l.d + column] = total;
  }
}

// Every part gets blocks in proportion to its heads.
Layout layout_of(const CudaDevice& gpu, const Tensor& qkv, const Tensor& query_weight,
                 const Tensor& key_weight, const Heads& heads, const RmsNorm& options,
                 bool values) {
  const int64_t tokens = qkv.shape[0];
  const int all = heads.heads + 2 * heads.kv_heads;
  const auto part = [&](int first, int count, const float* weight, bool normed) {
    const int64_t most = (tokens * count + 7) / 8;  // at least a head for each of 8 teams
    const int64_t share = int64_t{gpu.multiprocessors()} * kBlocks * count / all;
    return Part{
        .first = first,
        .heads = count,
        .weight = weight,
        .normed = normed,
        .blocks = static_cast<int>(std::clamp<int64_t>(share, 1, std::max<int64_t>(most, 1)))};
  };
  return {.queries = part(0, heads.heads, query_weight.f32(), true),
          .keys = part(heads.heads, heads.kv_heads, key_weight.f32(), true),
          .values = part(heads.heads + heads.kv_heads, heads.kv_heads, nullptr, values),
          .d = heads.head_dim,
          .row = heads.row(),
          .tokens = tokens,
          .eps = options.eps,
          .offset = options.weight_offset};
}

unsigned blocks_of(const Layout& l) {
  return static_cast<unsigned>(l.queries.blocks + l.keys.blocks + l.values.blocks);
}

// Calls f with the number of lanes that a head of d values takes, and of vectors of a lane.
template <class F>
void with_team(int d, F&& f) {
  using One = std::integral_constant<int, 1>;
  if (d <= 8 * kVec) {
    f(std::integral_constant<int, 8>{}, One{});
  } else if (d <= 16 * kVec) {
    f(std::integral_constant<int, 16>{}, One{});
  } else if (d <= 32 * kVec) {
    f(std::integral_constant<int, 32>{}, One{});
  } else {
    SFT_ASSERT(d <= 2 * 32 * kVec);
    f(std::integral_constant<int, 32>{}, std::integral_constant<int, 2>{});
  }
}

// Of heads that are normed together: the queries' row (0) or the keys' (1), and where it begins.
template <class T>
struct Together {
  NormRows<T> rows;
  int64_t at;

  Together(const Tensor& qkv, const Tensor& weight, const Heads& heads, int part)
      : rows{qkv.as<T>(), weight.f32(), qkv.shape[0], weight.shape[0], heads.row()},
        at(part * int64_t{heads.heads} * heads.head_dim) {
    rows.x += at;
  }
};

void copy_values(CudaDevice& gpu, const Tensor& x, const Heads& heads, Tensor& y) {
  const size_t width = size_of(x.dtype);
  const size_t pitch = static_cast<size_t>(heads.row()) * width;
  const size_t skip = static_cast<size_t>(heads.heads + heads.kv_heads) * heads.head_dim * width;
  check_cuda(cudaMemcpy2DAsync(y.as<std::byte>() + skip, pitch, x.as<std::byte>() + skip, pitch,
                               pitch - skip, static_cast<size_t>(x.shape[0]),
                               cudaMemcpyDeviceToDevice, gpu.stream()),
             "qk_norm");
}

}  // namespace

void qk_norm_forward(Device& device, const Tensor& qkv, const Tensor& query_weight,
                     const Tensor& key_weight, const Heads& heads, const RmsNorm& options,
                     bool values, Tensor& y, Tensor& rstd) {
  CudaDevice& gpu = cuda(device);
  if (query_weight.shape[0] != heads.head_dim) {
    with_type(qkv.dtype, [&](auto type) {
      using T = decltype(type);
      for (const int part : {0, 1}) {
        const Together<T> t(qkv, part == 0 ? query_weight : key_weight, heads, part);
        norm_rows<T>(gpu, t.rows, options, nullptr, y.as<T>() + t.at,
                     rstd.f32() + part * t.rows.rows, nullptr);
      }
    });
    copy_values(gpu, qkv, heads, y);
    check_cuda(cudaGetLastError(), "qk_norm");
    return;
  }
  const Layout l = layout_of(gpu, qkv, query_weight, key_weight, heads, options, values);
  with_type(qkv.dtype, [&](auto type) {
    using T = decltype(type);
    with_team(l.d, [&](auto team, auto held) {
      forward_kernel<team(), held()>
          <<<blocks_of(l), kThreads, 0, gpu.stream()>>>(qkv.as<T>(), l, y.as<T>(), rstd.f32());
    });
  });
  check_cuda(cudaGetLastError(), "qk_norm");
}

void qk_norm_backward(Device& device, const Tensor& grad_y, const Tensor& qkv,
                      const Tensor& query_weight, const Tensor& key_weight, const Tensor& rstd,
                      const Heads& heads, const RmsNorm& options, bool values, Tensor& grad_qkv,
                      Tensor& grad_query_weight, bool accumulate_query, Tensor& grad_key_weight,
                      bool accumulate_key) {
  CudaDevice& gpu = cuda(device);
  if (query_weight.shape[0] != heads.head_dim) {
    with_type(qkv.dtype, [&](auto type) {
      using T = decltype(type);
      for (const int part : {0, 1}) {
        const Together<T> t(qkv, part == 0 ? query_weight : key_weight, heads, part);
        norm_rows_backward<T>(gpu, t.rows, options, grad_y.as<T>() + t.at,
                              rstd.f32() + part * t.rows.rows, nullptr, grad_qkv.as<T>() + t.at,
                              (part == 0 ? grad_query_weight : grad_key_weight).f32(),
                              part == 0 ? accumulate_query : accumulate_key);
      }
    });
    copy_values(gpu, grad_y, heads, grad_qkv);
    check_cuda(cudaGetLastError(), "qk_norm.backward");
    return;
  }
  Layout l = layout_of(gpu, qkv, query_weight, key_weight, heads, options, values);
  float* const sums =
      gpu.state<Scratch>().take<float>(int64_t{l.queries.blocks + l.keys.blocks} * l.d);
  l.queries.sums = grad_query_weight.data != nullptr ? sums : nullptr;
  l.keys.sums = grad_key_weight.data != nullptr ? sums + int64_t{l.queries.blocks} * l.d : nullptr;
  with_type(qkv.dtype, [&](auto type) {
    using T = decltype(type);
    with_team(l.d, [&](auto team, auto held) {
      backward_kernel<team(), held()><<<blocks_of(l), kThreads, 0, gpu.stream()>>>(
          grad_y.as<T>(), qkv.as<T>(), rstd.f32(), l, grad_qkv.as<T>());
    });
  });
  check_cuda(cudaGetLastError(), "qk_norm.backward");
  const auto collect = [&](const Part& part, Tensor& grad, bool accumulate) {
    if (part.sums != nullptr) {
      column_sums(gpu, part.sums, part.blocks, l.d, grad.f32(), accumulate);
    }
  };
  collect(l.queries, grad_query_weight, accumulate_query);
  collect(l.keys, grad_key_weight, accumulate_key);
}

}  // namespace sft::gpu
