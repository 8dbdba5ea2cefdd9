#include "ops/router.h"

// A warp has a token; lane i looks at experts i, i + 32, and so on. Scores are made again where
// they are needed instead of being kept, so that there may be any number of experts.
#include "device/cuda/scratch.h"
#include "ops/cuda/rows.cuh"

namespace sft::gpu {

namespace {

constexpr int kWarps = 8;  // tokens of a block
constexpr uint32_t kAll = 0xFFFFFFFFU;
constexpr float kNever = -INFINITY;

__device__ float warp_max(float x) {
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) {
    x = fmaxf(x, __shfl_xor_sync(kAll, x, lane));
  }
  return x;
}

// What makes scores of a token's logits.
template <class T>
struct Scores {
  const T* logits;
  int experts;
  Routing::Scores kind;
  float most = 0, factor = 1;

  __device__ Scores(const T* row, int n, Routing::Scores of) : logits(row), experts(n), kind(of) {
    if (kind == Routing::Scores::sigmoid) {
      return;
    }
    float high = kNever;
    for (int e = static_cast<int>(threadIdx.x); e < experts; e += 32) {
      high = fmaxf(high, widen(logits[e]));
    }
    most = warp_max(high);
    LongSum sum;
    for (int e = static_cast<int>(threadIdx.x); e < experts; e += 32) {
      sum.add(expf(widen(logits[e]) - most));
    }
    factor = 1.0F / warp_sum(sum.total());
  }
  __device__ float operator()(int e) const {
    const float x = widen(logits[e]);
    return kind == Routing::Scores::sigmoid ? 1.0F / (1.0F + expf(-x)) : expf(x - most) * factor;
  }
};

struct Best {
  float value;
  int at;
};
// Whether a comes before b.
__device__ bool before(const Best& a, const Best& b) {
  return a.value > b.value || (a.value == b.value && a.at < b.at);
}
// The first of all lanes' that comes after `last`.
template <class Value>
__device__ Best next_best(int count, const Best& last, const Value& value) {
  Best best{kNever, count};
  for (int i = static_cast<int>(threadIdx.x); i < count; i += 32) {
    const Best own{value(i), i};
    if (before(last, own) && before(own, best)) {
      best = own;
    }
  }
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) {
    const Best other{__shfl_xor_sync(kAll, best.value, lane), __shfl_xor_sync(kAll, best.at, lane)};
    best = before(other, best) ? other : best;
  }
  return best;
}

template <class T>
__device__ float weight_factor(const Scores<T>& scores, const Routing& routing,
                               const int32_t* experts) {
  if (!routing.normalise) {
    return routing.scale;
  }
  float sum = routing.scores == Routing::Scores::sigmoid ? 1e-20F : 0.0F;
  for (int i = 0; i < routing.chosen; ++i) {
    sum += scores(experts[i]);
  }
  return routing.scale / sum;
}

__device__ int64_t token_of_warp() { return int64_t{blockIdx.x} * kWarps + threadIdx.y; }

template <class T>
__global__ void route_kernel(const T* logits, const float* correction, const Routing routing,
                             int64_t tokens, float* weights, int32_t* experts) {
  const int64_t token = token_of_warp();
  if (token >= tokens) {
    return;
  }
  const int lane = static_cast<int>(threadIdx.x);
  const Scores<T> scores(logits + token * routing.experts, routing.experts, routing.scores);
  const auto choice = [&](int e) {
    return scores(e) + (correction == nullptr ? 0.0F : correction[e]);
  };
  const int size = routing.experts / routing.groups;
  uint32_t looked_at = kAll;  // a bit for each group
  if (routing.groups > 1) {
    float worth = kNever;
    if (lane < routing.groups) {
      float first = kNever, second = kNever;
      for (int e = lane * size; e < (lane + 1) * size; ++e) {
        const float x = choice(e);
        second = x > first ? first : fmaxf(second, x);
        first = fmaxf(first, x);
      }
      worth = first + second;
    }
    looked_at = 0;
    Best last{INFINITY, -1};
    for (int i = 0; i < routing.chosen_groups; ++i) {
      last = next_best(32, last, [&](int /*own*/) { return worth; });
      looked_at |= 1U << last.at;
    }
  }
  int32_t* const to = experts + token * routing.chosen;
  Best last{INFINITY, -1};
  for (int i = 0; i < routing.chosen; ++i) {
    last = next_best(routing.experts, last, [&](int e) {
      return (looked_at >> (e / size & 31) & 1) != 0 ? choice(e) : kNever;
    });
    if (lane == 0) {
      to[i] = last.at;
    }
  }
  __syncwarp();
  const float factor = weight_factor(scores, routing, to);
  for (int i = lane; i < routing.chosen; i += 32) {
    weights[token * routing.chosen + i] = scores(to[i]) * factor;
  }
}

template <class T>
__global__ void route_backward_kernel(const float* grad_weights, const T* logits,
                                      const int32_t* experts, const float* balance,
                                      const int32_t* counted, const Routing routing, int64_t tokens,
                                      T* grad_logits) {
  const int64_t token = token_of_warp();
  if (token >= tokens) {
    return;
  }
  const int lane = static_cast<int>(threadIdx.x);
  const int n = routing.experts;
  const Scores<T> scores(logits + token * n, n, routing.scores);
  const bool balanced = balance != nullptr && token < *counted;
  const int32_t* const to = experts + token * routing.chosen;
  const float* const g = grad_weights == nullptr ? nullptr : grad_weights + token * routing.chosen;
  float factor = 0, shared = 0;
  if (g != nullptr) {
    factor = weight_factor(scores, routing, to);
    for (int i = 0; routing.normalise && i < routing.chosen; ++i) {
      shared += g[i] * scores(to[i]) * factor / routing.scale;
    }
  }
  const auto grad_score = [&](int e) {
    float grad = balanced ? balance[e] : 0.0F;
    for (int i = 0; g != nullptr && i < routing.chosen; ++i) {
      grad += to[i] == e ? (g[i] - shared) * factor : 0.0F;
    }
    return grad;
  };
  float mean = 0;
  if (routing.scores == Routing::Scores::softmax) {
    LongSum sum;
    for (int e = lane; e < n; e += 32) {
      sum.add(grad_score(e) * scores(e));
    }
    mean = warp_sum(sum.total());
  }
  for (int e = lane; e < n; e += 32) {
    const float s = scores(e);
    const float slope = routing.scores == Routing::Scores::softmax ? s : s * (1.0F - s);
    grad_logits[token * n + e] = narrow<T>(slope * (grad_score(e) - mean));
  }
}

// partial (chunks, 2 experts): how often each expert is chosen, and the sum of its softmax, in a
// chunk of tokens that one warp goes through in order.
template <class T>
__global__ void load_kernel(const T* logits, const int32_t* experts, const int32_t* counted, int n,
                            int chosen, int64_t tokens, int64_t chunk, float* partial) {
  const int lane = static_cast<int>(threadIdx.x);
  float* const counts = partial + int64_t{blockIdx.x} * 2 * n;
  float* const sums = counts + n;
  for (int e = lane; e < n; e += 32) {
    counts[e] = sums[e] = 0.0F;
  }
  __syncwarp();
  const int64_t first = int64_t{blockIdx.x} * chunk;
  const int64_t end = min(min(first + chunk, tokens), int64_t{*counted});
  for (int64_t token = first; token < end; ++token) {
    const Scores<T> scores(logits + token * n, n, Routing::Scores::softmax);
    for (int e = lane; e < n; e += 32) {
      sums[e] += scores(e);
    }
    for (int i = lane; i < chosen; i += 32) {  // a token's experts are different ones
      counts[experts[token * chosen + i]] += 1.0F;
    }
    __syncwarp();
  }
}

__global__ void balance_kernel(const float* load, const int32_t* counted, int layers, int n,
                               const float* scale, float* loss, float* gradient) {
  const double rows = static_cast<double>(*counted) * layers;
  double sum = 0;
  for (int e = static_cast<int>(threadIdx.x); e < n; e += 32) {
    const double share = rows > 0 ? load[e] / rows : 0.0;
    sum += rows > 0 ? share * load[n + e] / rows : 0.0;
    gradient[e] = rows > 0 ? static_cast<float>(static_cast<double>(*scale) * n * share / rows) : 0;
  }
  for (int lane = 16; lane > 0; lane /= 2) {
    sum += __shfl_xor_sync(kAll, sum, lane);
  }
  if (threadIdx.x == 0) {
    *loss = static_cast<float>(sum * n);
  }
}

unsigned blocks_for(int64_t tokens) {
  return static_cast<unsigned>((tokens + kWarps - 1) / kWarps);
}
// Where the number of tokens that documents have stands.
const int32_t* end_of(const Tensor& documents) {
  return documents.data == nullptr
             ? nullptr
             : documents.i32() + documents.shape[documents.shape.rank() - 1] - 1;
}

}  // namespace

void route_forward(Device& device, const Tensor& logits, const Tensor& correction,
                   const Routing& routing, Tensor& weights, Tensor& experts) {
  with_type(logits.dtype, [&](auto type) {
    using T = decltype(type);
    const int64_t tokens = logits.shape[0];
    route_kernel<<<blocks_for(tokens), dim3(32, kWarps), 0, cuda(device).stream()>>>(
        logits.as<T>(), correction.f32(), routing, tokens, weights.f32(), experts.i32());
  });
  check_cuda(cudaGetLastError(), "router");
}

void route_backward(Device& device, const Tensor& grad_weights, const Tensor& logits,
                    const Tensor& experts, const Tensor& balance, const Tensor& documents,
                    const Routing& routing, Tensor& grad_logits) {
  with_type(logits.dtype, [&](auto type) {
    using T = decltype(type);
    const int64_t tokens = logits.shape[0];
    route_backward_kernel<<<blocks_for(tokens), dim3(32, kWarps), 0, cuda(device).stream()>>>(
        grad_weights.f32(), logits.as<T>(), experts.i32(), balance.f32(), end_of(documents),
        routing, tokens, grad_logits.as<T>());
  });
  check_cuda(cudaGetLastError(), "router.backward");
}

void expert_load(Device& device, const Tensor& logits, const Tensor& experts,
                 const Tensor& documents, const Tensor& before, Tensor& load) {
  CudaDevice& gpu = cuda(device);
  const int64_t tokens = logits.shape[0];
  const auto n = static_cast<int>(logits.shape[1]);
  // As many chunks as there is room for, and enough of them to fill the card.
  const int64_t room = static_cast<int64_t>(Scratch::kBytes / sizeof(float)) / (2 * n);
  const int64_t chunks = std::clamp<int64_t>(tokens / 8, 1, std::min<int64_t>(room, 2048));
  const int64_t chunk = (tokens + chunks - 1) / chunks;
  auto* const partial = gpu.state<Scratch>().take<float>(chunks * 2 * n);
  with_type(logits.dtype, [&](auto type) {
    using T = decltype(type);
    load_kernel<<<static_cast<unsigned>(chunks), 32, 0, gpu.stream()>>>(
        logits.as<T>(), experts.i32(), end_of(documents), n, static_cast<int>(experts.shape[1]),
        tokens, chunk, partial);
  });
  check_cuda(cudaGetLastError(), "router.load");
  if (before.data != nullptr) {
    device.copy(load.data, before.data, load.bytes());
  }
  column_sums(gpu, partial, chunks, 2 * n, load.f32(), before.data != nullptr);
}

void balance_loss(Device& device, const Tensor& load, const Tensor& documents, int layers,
                  const Tensor& scale, Tensor& loss, Tensor& gradient) {
  balance_kernel<<<1, 32, 0, cuda(device).stream()>>>(load.f32(), end_of(documents), layers,
                                                      static_cast<int>(load.shape[1]), scale.f32(),
                                                      loss.f32(), gradient.f32());
  check_cuda(cudaGetLastError(), "router.loss");
}

}  // namespace sft::gpu
