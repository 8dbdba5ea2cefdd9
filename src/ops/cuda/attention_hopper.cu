#include "ops/cuda/attention_hopper.h"

#include "core/error.h"
#include "device/cuda/cuda_device.h"
#include "ops/cuda/attention_backward.cuh"
#include "ops/cuda/attention_forward.cuh"

namespace sft {

#ifdef SFT_HOPPER

namespace {

using namespace attend;

// How the kernels are cut for heads of 64 and of 128 values; each measured. With heads of 64 the
// backward kernels read their first operands from shared memory: kept in registers across a loop,
// nvcc 13.0 gives some of these registers to other values.
template <int kD>
struct Plans;
template <>
struct Plans<64> {
  using Forward = ForwardPlan<64, 64, 3, 6, true>;
  using QueryGradient = QueryGradientPlan<64, 64, 6, false>;
  using KeyGradient = KeyGradientPlan<64, 6, false>;
};
template <>
struct Plans<128> {
  using Forward = ForwardPlan<128, 64, 2, 4, true>;
  using QueryGradient = QueryGradientPlan<128, 64, 3, true>;
  using KeyGradient = KeyGradientPlan<128, 4, false>;
};

enum List { kForwardTiles, kQueryTiles, kKeyTiles, kLists };

struct TokensOfTiles {
  int tokens[kLists];
};

template <int kD>
TokensOfTiles tokens_of_tiles(const Heads& heads) {
  const int group = heads.heads / heads.kv_heads;
  return {{Plans<kD>::Forward::kRows / group, Plans<kD>::QueryGradient::kRows / group,
           Plans<kD>::KeyGradient::kRows}};
}

// Lists the tiles of one kernel, those that see most first: the bins of a histogram, 64 tokens
// wide, lie in that order, and the order within a bin does not matter to any result.
__global__ void list_tiles_kernel(const int32_t* starts, int documents, TokensOfTiles sizes,
                                  int most, int4* lists) {
  constexpr int kBins = 1024;
  __shared__ int bins[kBins];
  __shared__ int total;
  const int list = static_cast<int>(blockIdx.x);
  const int tokens = sizes.tokens[list];
  const auto thread = static_cast<int>(threadIdx.x);
  int4* const out = lists + int64_t{list} * most;
  const auto each = [&](const auto& take) {
    for (int d = thread / 32; d < documents; d += kBins / 32) {
      const int start = starts[d];
      const int length = starts[d + 1] - start;
      for (int first = thread % 32 * tokens; first < length; first += 32 * tokens) {
        const int seen = list == kKeyTiles ? length - first : first;
        take(start, length, first, kBins - 1 - min(kBins - 1, seen / 64));
      }
    }
  };
  bins[thread] = 0;
  __syncthreads();
  each([&](int, int, int, int bin) { atomicAdd(bins + bin, 1); });
  __syncthreads();
  const int own = bins[thread];
  for (int step = 1; step < kBins; step *= 2) {
    const int before = thread >= step ? bins[thread - step] : 0;
    __syncthreads();
    bins[thread] += before;
    __syncthreads();
  }
  if (thread == kBins - 1) {
    total = bins[thread];
  }
  const int first = bins[thread] - own;
  __syncthreads();
  bins[thread] = first;
  __syncthreads();
  each([&](int start, int length, int first_token, int bin) {
    out[atomicAdd(bins + bin, 1)] = {start, length, first_token, 0};
  });
  for (int i = total + thread; i < most; i += kBins) {
    out[i] = {0, 0, 0, 0};
  }
}

template <class Kernel, class... Arguments>
void launch(Kernel kernel, int blocks, int threads, int shared, cudaStream_t stream,
            const Arguments&... arguments) {
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared),
             "shared memory");
  kernel<<<static_cast<unsigned>(blocks), static_cast<unsigned>(threads),
           static_cast<size_t>(shared), stream>>>(arguments...);
  check_cuda(cudaGetLastError(), "attention");
}

// One direction's launches, for heads of kD values.
template <int kD>
struct Launcher {
  using Forward = typename Plans<kD>::Forward;
  using QueryGradient = typename Plans<kD>::QueryGradient;
  using KeyGradient = typename Plans<kD>::KeyGradient;

  cudaStream_t stream;
  int multiprocessors;
  const Attention& options;
  int64_t tokens, documents;
  const int32_t* table;

  const Heads& heads() const { return options.heads; }
  int group() const { return heads().heads / heads().kv_heads; }

  // `packed`: tokens of a tile of queries.
  Sizes sizes(List list, int packed) const {
    const AttentionTiles tiles(heads(), tokens, documents);
    Sizes s{};
    s.tiles = reinterpret_cast<const int4*>(table + tiles.offset) + list * tiles.most;
    s.most_tiles = static_cast<int>(tiles.most);
    s.heads = heads().heads;
    s.kv_heads = heads().kv_heads;
    s.group = group();
    s.group_inverse = 65536 / group() + (65536 % group() != 0 ? 1 : 0);
    s.tokens_of_tile = packed;
    s.window = options.window > 0 ? options.window : INT_MAX;
    s.tokens = static_cast<int>(tokens);
    s.documents = static_cast<int>(documents);
    s.scale = options.scale;
    s.starts = table;
    return s;
  }
  int blocks(const Sizes& s) const { return std::min(multiprocessors, s.most_tiles * s.kv_heads); }

  CUtensorMap queries(const Tensor& qkv, int packed) const {
    return head_map(qkv.data, tokens, heads().heads, kD, heads().row(), group(), packed);
  }
  CUtensorMap outputs(const Tensor& y, int packed) const {
    return head_map(y.data, tokens, heads().heads, kD, int64_t{heads().heads} * kD, group(),
                    packed);
  }
  CUtensorMap keys(const Tensor& qkv, int rows) const {
    return tensor_map(qkv.data, tokens, heads().row(), heads().row(), rows);
  }

  void forward(const Tensor& qkv, Tensor& y, Tensor& log_sum) const {
    const Sizes s = sizes(kForwardTiles, Forward::kRows / group());
    const ForwardMaps maps{queries(qkv, s.tokens_of_tile), keys(qkv, Forward::kN)};
    launch(forward_tiles_kernel<Forward>, blocks(s), Forward::kThreads, Forward::kShared, stream,
           maps, s, y.as<__nv_bfloat16>(), log_sum.f32());
  }

  void backward(const Tensor& grad_y, const Tensor& qkv, const Tensor& y, const Tensor& log_sum,
                Tensor& grad_qkv, Tensor& workspace) const {
    const BackwardArrays arrays{log_sum.f32(), reinterpret_cast<float2*>(workspace.f32()),
                                grad_qkv.as<__nv_bfloat16>()};
    {
      const Sizes s = sizes(kQueryTiles, QueryGradient::kRows / group());
      const QueryGradientMaps maps{queries(qkv, s.tokens_of_tile),
                                   outputs(grad_y, s.tokens_of_tile), outputs(y, s.tokens_of_tile),
                                   keys(qkv, QueryGradient::kN)};
      launch(query_gradient_tiles_kernel<QueryGradient>, blocks(s), QueryGradient::kThreads,
             QueryGradient::kShared, stream, maps, s, arrays);
    }
    const Sizes s = sizes(kKeyTiles, KeyGradient::kQ / group());
    const KeyGradientMaps maps{queries(qkv, s.tokens_of_tile), outputs(grad_y, s.tokens_of_tile),
                               keys(qkv, KeyGradient::kRows)};
    launch(key_gradient_tiles_kernel<KeyGradient>, blocks(s), KeyGradient::kThreads,
           KeyGradient::kShared, stream, maps, s, arrays);
  }
};

}  // namespace

HopperAttention::HopperAttention(cudaStream_t stream, int multiprocessors, const Attention& options,
                                 int64_t tokens, const Tensor& table)
    : stream_(stream),
      multiprocessors_(multiprocessors),
      options_(options),
      tokens_(tokens),
      documents_(table.shape[1] - 1),
      table_(table.i32()) {}

bool HopperAttention::takes(const Heads& heads) {
  return (heads.head_dim == 64 || heads.head_dim == 128) &&
         heads.heads / heads.kv_heads <= Plans<64>::KeyGradient::kQ;
}

void HopperAttention::list_tiles(cudaStream_t stream, const Heads& heads, int64_t tokens,
                                 int64_t documents, int32_t* table) {
  const AttentionTiles tiles(heads, tokens, documents);
  list_tiles_kernel<<<kLists, 1024, 0, stream>>>(
      table, static_cast<int>(documents),
      heads.head_dim == 64 ? tokens_of_tiles<64>(heads) : tokens_of_tiles<128>(heads),
      static_cast<int>(tiles.most), reinterpret_cast<int4*>(table + tiles.offset));
  check_cuda(cudaGetLastError(), "document_table");
}

void HopperAttention::forward(const Tensor& qkv, Tensor& y, Tensor& log_sum) const {
  const auto run = [&](const auto& launcher) { launcher.forward(qkv, y, log_sum); };
  if (options_.heads.head_dim == 64) {
    run(Launcher<64>{stream_, multiprocessors_, options_, tokens_, documents_, table_});
  } else {
    run(Launcher<128>{stream_, multiprocessors_, options_, tokens_, documents_, table_});
  }
}

void HopperAttention::backward(const Tensor& grad_y, const Tensor& qkv, const Tensor& y,
                               const Tensor& log_sum, Tensor& grad_qkv, Tensor& workspace) const {
  const auto run = [&](const auto& launcher) {
    launcher.backward(grad_y, qkv, y, log_sum, grad_qkv, workspace);
  };
  if (options_.heads.head_dim == 64) {
    run(Launcher<64>{stream_, multiprocessors_, options_, tokens_, documents_, table_});
  } else {
    run(Launcher<128>{stream_, multiprocessors_, options_, tokens_, documents_, table_});
  }
}

#endif

}  // namespace sft
