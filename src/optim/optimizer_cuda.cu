#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "device/cuda/cuda_device.h"
#include "device/cuda/scratch.h"
#include "device/cuda/vec.cuh"
#include "formats/block8.h"
#include "optim/element.h"
#include "optim/kernels.h"

namespace sft::gpu {

namespace {

constexpr int kThreads = 256;

// Values of a tile that one lane of the tile's warp has: two runs of four.
constexpr int kRuns = 2;
constexpr int kLaneValues = 4 * kRuns;

__device__ inline int64_t lane_at(int run) { return run * 128 + int64_t{threadIdx.x % 32} * 4; }

template <class T>
struct alignas(4 * sizeof(T)) Four {
  T v[4];
};

template <class T>
__device__ inline void load_tile(const T* from, float* out) {
#pragma unroll
  for (int r = 0; r < kRuns; ++r) {
    const auto four = *reinterpret_cast<const Four<T>*>(from + lane_at(r));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      out[r * 4 + i] = widen(four.v[i]);
    }
  }
}

template <class T>
__device__ inline void store_tile(T* to, const float* values) {
#pragma unroll
  for (int r = 0; r < kRuns; ++r) {
    Four<T> four;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      four.v[i] = narrow<T>(values[r * 4 + i]);
    }
    *reinterpret_cast<Four<T>*>(to + lane_at(r)) = four;
  }
}

// bfloat16 by stochastic rounding; `values` become what is stored.
__device__ inline void store_rounded(__nv_bfloat16* to, float* values, const uint32_t* random) {
#pragma unroll
  for (int r = 0; r < kRuns; ++r) {
    Four<uint16_t> four;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      four.v[i] = round_stochastically(values[r * 4 + i], random[r * 4 + i]);
      values[r * 4 + i] = __uint_as_float(uint32_t{four.v[i]} << 16);
    }
    *reinterpret_cast<Four<uint16_t>*>(to + lane_at(r)) = four;
  }
}

__device__ inline void load_codes(const uint8_t* from, float scale, const block8::Book& book,
                                  float* out) {
#pragma unroll
  for (int r = 0; r < kRuns; ++r) {
    const auto four = *reinterpret_cast<const Four<uint8_t>*>(from + lane_at(r));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      out[r * 4 + i] = book.values[four.v[i]] * scale;
    }
  }
}

__device__ inline void store_codes(uint8_t* to, float* scale, const block8::Book& book,
                                   const float* values) {
  float largest = 0.0F;
#pragma unroll
  for (int i = 0; i < kLaneValues; ++i) {
    largest = fmaxf(largest, fabsf(values[i]));
  }
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) {
    largest = fmaxf(largest, __shfl_xor_sync(0xffffffffU, largest, lane));
  }
  if (threadIdx.x % 32 == 0) {
    *scale = largest;
  }
  const float divisor = largest > 0.0F ? largest : 1.0F;
#pragma unroll
  for (int r = 0; r < kRuns; ++r) {
    Four<uint8_t> four;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      four.v[i] = code_of(book, values[r * 4 + i] / divisor);
    }
    *reinterpret_cast<Four<uint8_t>*>(to + lane_at(r)) = four;
  }
}

// The segment that an element lies in.
__device__ inline const StateSegment& segment_of(const StateSegment* segments, int count,
                                                 int64_t element) {
  int low = 0;
  int high = count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (segments[middle].begin <= element) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return segments[low];
}

// By one warp. W: type of the weights, C: of the copy; `books` where some states are 8-bit blocks.
template <class Rule, class W, class C, bool kBlocks>
__device__ void update_tile(const UpdateCall& c, int64_t at, const block8::Book* books) {
  constexpr int kSlots = static_cast<int>(Rule::kSlots.size());
  const int64_t element = c.begin + at;
  const StateSegment& s = segment_of(c.segments, c.segment_count, element);
  if (!is_concerned(c, s)) {
    return;
  }
  const StateFormat format = s.format;
  const int64_t state = element - s.begin;
  const float decay = s.decay ? c.decay : c.no_decay;

  float g[kLaneValues];
  float w[kLaneValues];
  float states[kSlots == 0 ? 1 : kSlots][kLaneValues] = {};
  load_tile(c.gradients + at, g);
  load_tile(static_cast<const W*>(c.weights) + at, w);
#pragma unroll
  for (int k = 0; k < kSlots; ++k) {
    const SlotCall& slot = c.slots[k];
    if (slot.values == nullptr) {
      continue;
    }
    const std::byte* const values = slot.values + s.at[k];
    if (format == StateFormat::f32) {
      load_tile(reinterpret_cast<const float*>(values) + state, states[k]);
    } else if (format == StateFormat::bf16) {
      load_tile(reinterpret_cast<const __nv_bfloat16*>(values) + state, states[k]);
    } else if constexpr (kBlocks) {
      load_codes(reinterpret_cast<const uint8_t*>(values) + state,
                 slot.scales[s.scale_at[k] + state / kTile], books[slot.book], states[k]);
    }
  }
  const auto& scalars = c.scalars.as<typename Rule::Scalars>();
#pragma unroll
  for (int i = 0; i < kLaneValues; ++i) {
    float own[kMaxSlots] = {};
#pragma unroll
    for (int k = 0; k < kSlots; ++k) {
      own[k] = states[k][i];
    }
    g[i] *= c.clip;
    Rule::element(scalars, decay, g[i], w[i], own);
#pragma unroll
    for (int k = 0; k < kSlots; ++k) {
      states[k][i] = own[k];
    }
  }
  constexpr bool kRoundWeights = !std::is_same_v<W, float>;
  uint32_t random[1 + kSlots][kLaneValues];
  if (kRoundWeights || s.rounded || format == StateFormat::bf16) {
#pragma unroll
    for (int i = 0; i < kLaneValues; i += 2) {
      const RoundingPair pair =
          rounding_bits(c.seed, c.step, (element + lane_at(i / 4) + i % 4) / 2);
      random[0][i] = pair.even.weight, random[0][i + 1] = pair.odd.weight;
#pragma unroll
      for (int k = 0; k < kSlots; ++k) {
        random[1 + k][i] = pair.even.state[k], random[1 + k][i + 1] = pair.odd.state[k];
      }
    }
  }
  if constexpr (Rule::kWritesGradient) {
    store_tile(c.gradients + at, g);
  } else if constexpr (kRoundWeights) {
    store_rounded(static_cast<W*>(c.weights) + at, w, random[0]);
  } else {
    if (s.rounded) {
#pragma unroll
      for (int i = 0; i < kLaneValues; ++i) {
        w[i] = __uint_as_float(uint32_t{round_stochastically(w[i], random[0][i])} << 16);
      }
    }
    store_tile(static_cast<float*>(c.weights) + at, w);
  }
  if (!Rule::kWritesGradient && c.copy != nullptr) {
    store_tile(static_cast<C*>(c.copy) + at, w);
  }
#pragma unroll
  for (int k = 0; k < kSlots; ++k) {
    const SlotCall& slot = c.slots[k];
    if (slot.values == nullptr) {
      continue;
    }
    std::byte* const values = slot.values + s.at[k];
    if (format == StateFormat::f32) {
      store_tile(reinterpret_cast<float*>(values) + state, states[k]);
    } else if (format == StateFormat::bf16) {
      store_rounded(reinterpret_cast<__nv_bfloat16*>(values) + state, states[k], random[1 + k]);
    } else if constexpr (kBlocks) {
      store_codes(reinterpret_cast<uint8_t*>(values) + state,
                  slot.scales + s.scale_at[k] + state / kTile, books[slot.book], states[k]);
    }
  }
}

constexpr int kWarps = kThreads / 32;

template <class Rule, class W, class C>
__global__ void __launch_bounds__(kThreads) update_kernel(UpdateCall c) {
  const int64_t at = (int64_t{blockIdx.x} * kWarps + threadIdx.x / 32) * kTile;
  if (c.begin + at < c.end) {
    update_tile<Rule, W, C, false>(c, at, nullptr);
  }
}

// Blocks stay for many tiles, since each reads the books first.
template <class Rule, class W, class C>
__global__ void __launch_bounds__(kThreads, 3) update_blocks_kernel(UpdateCall c) {
  constexpr int kWords = sizeof(block8::Book) / 4;
  __shared__ block8::Book books[2];
  for (int i = static_cast<int>(threadIdx.x); i < 2 * kWords; i += kThreads) {
    reinterpret_cast<uint32_t*>(books)[i] = reinterpret_cast<const uint32_t*>(c.books)[i];
  }
  __syncthreads();
  int64_t at = (int64_t{blockIdx.x} * kWarps + threadIdx.x / 32) * kTile;
  for (; c.begin + at < c.end; at += int64_t{gridDim.x} * kWarps * kTile) {
    update_tile<Rule, W, C, true>(c, at, books);
  }
}

template <class Rule, class W, class C>
void launch(const UpdateCall& call, const CudaDevice& gpu) {
  const int64_t tiles = (call.end - call.begin) / kTile;
  const int64_t blocks = (tiles + kWarps - 1) / kWarps;
  if constexpr (Rule::kHasBlocks) {
    if (call.books != nullptr) {
      const int64_t most = gpu.multiprocessors() * 8L;
      update_blocks_kernel<Rule, W, C>
          <<<static_cast<unsigned>(std::min(blocks, most)), kThreads, 0, gpu.stream()>>>(call);
      return;
    }
  }
  update_kernel<Rule, W, C><<<static_cast<unsigned>(blocks), kThreads, 0, gpu.stream()>>>(call);
}

// One sum of squares per block, each over the same stretch every time: of four in float32, of the
// rest in float64, so that its error does not grow with the model.
__global__ void squares_kernel(const float* x, int64_t n, int64_t stretch, double* sums) {
  __shared__ double shared[kThreads];
  const int64_t begin = int64_t{blockIdx.x} * stretch;
  const int64_t end = min(n, begin + stretch);
  double sum = 0.0;
  for (int64_t i = begin + threadIdx.x * 4; i + 4 <= end; i += kThreads * 4) {
    const float4 v = *reinterpret_cast<const float4*>(x + i);
    sum += static_cast<double>(v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w);
  }
  for (int64_t i = begin + (end - begin) / 4 * 4 + threadIdx.x; i < end; i += kThreads) {
    sum += static_cast<double>(x[i] * x[i]);
  }
  shared[threadIdx.x] = sum;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) {
      shared[threadIdx.x] += shared[threadIdx.x + half];
    }
  }
  if (threadIdx.x == 0) {
    sums[blockIdx.x] = shared[0];
  }
}

}  // namespace

void update(Device& device, const UpdateCall& call) {
  const CudaDevice& gpu = cuda(device);
  with_rule(call.rule, [&](auto rule) {
    using Rule = decltype(rule);
    if (call.weight_type == DType::bf16 && call.copy == nullptr) {
      launch<Rule, __nv_bfloat16, float>(call, gpu);  // matmuls read the weights themselves
    } else if (call.weight_type == DType::bf16) {
      with_type(call.copy_type,
                [&](auto type) { launch<Rule, __nv_bfloat16, decltype(type)>(call, gpu); });
    } else {
      with_type(call.copy_type, [&](auto type) { launch<Rule, float, decltype(type)>(call, gpu); });
    }
  });
  check_cuda(cudaGetLastError(), "update");
}

double l2_norm(Device& device, const float* x, int64_t n) {
  CudaDevice& gpu = cuda(device);
  const int64_t wanted = (n + kThreads * 4 - 1) / (kThreads * 4);
  const int64_t blocks = std::clamp<int64_t>(wanted, 1, gpu.multiprocessors() * 16L);
  const int64_t stretch = ((n + blocks - 1) / blocks + 3) / 4 * 4;
  auto* const sums = gpu.state<Scratch>().take<double>(blocks);
  squares_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, gpu.stream()>>>(x, n, stretch, sums);
  check_cuda(cudaGetLastError(), "l2_norm");
  std::vector<double> on_host(static_cast<size_t>(blocks));
  gpu.download(on_host.data(), sums, on_host.size() * sizeof(double));
  double total = 0.0;
  for (const double sum : on_host) {
    total += sum;
  }
  return std::sqrt(total);
}

}  // namespace sft::gpu
