// The gated delta rule in chunks of tokens, as products of small matrices. With G the sum of decays
// up to a token of the chunk, D[i][j] = exp(G[i] - G[j]) for j <= i, and S the state before it:
//   L = strictly lower part of (beta k) k^T * D,  T = (I + L)^-1
//   u = T (beta v),  w = T (beta e^G k),  fresh = u - w S
//   y = (e^G q) S + (lower part of q k^T * D) fresh
//   S after the chunk = e^(last G) S + (e^(last G - G) k)^T fresh
// Yang, Wang, Zhang, Shen and Kim, "Parallelizing linear transformers with the delta rule" (2024).
// Only S goes from chunk to chunk; the rest is done for all chunks at once.
#include <algorithm>
#include <type_traits>

#include "device/cuda/capability.h"
#include "device/cuda/scratch.h"
#include "ops/cuda/delta_inputs_backward.cuh"
#include "ops/cuda/delta_output.cuh"
#include "ops/cuda/delta_prepare.cuh"
#include "ops/cuda/delta_scan.cuh"
#include "ops/cuda/documents.cuh"
#include "ops/cuda/rows.cuh"

namespace sft::gpu {

namespace {

// For generation, token by token: a block for each text and value head, whose threads have a column
// of the state each. It is changed where it lies or, where that fits, in shared memory.
constexpr int kColumns = 128;

template <class T, bool kInPlace>
__global__ void __launch_bounds__(kColumns)
    cached_kernel(delta::Layer<T> l, const int32_t* past, const int32_t* lanes, int64_t fresh,
                  float* states, T* y) {
  __shared__ float query[kColumns], key[kColumns], of_query[kColumns / 32], of_key[kColumns / 32];
  const DeltaHeads& h = l.heads;
  const int64_t text = blockIdx.x;
  const int head = static_cast<int>(blockIdx.y);
  const int column = static_cast<int>(threadIdx.x);
  const int size = h.key_dim * h.value_dim;
  float* const held = states + (int64_t{lanes[text]} * h.value_heads + head) * size;
  extern __shared__ float shared[];
  const Matrix<float> state{kInPlace ? held : shared, h.value_dim};
  const bool begun = past[2 * text + 1] > 0;
  for (int i = column; i < size && !(kInPlace && begun); i += kColumns) {
    state.at[i] = begun ? held[i] : 0.0F;
  }
  for (int64_t t = text * fresh; t < (text + 1) * fresh; ++t) {
    const T* const row = l.qkv + t * h.row();
    const int64_t at = int64_t{head / h.served()} * h.key_dim + column;
    const float q = column < h.key_dim ? widen(row[at]) : 0.0F;
    const float k = column < h.key_dim ? widen(row[h.keys() + at]) : 0.0F;
    const float q_squares = warp_sum(q * q);
    const float k_squares = warp_sum(k * k);
    __syncthreads();
    if (column % 32 == 0) {
      of_query[column / 32] = q_squares;
      of_key[column / 32] = k_squares;
    }
    __syncthreads();
    const auto unit = [](float x, const float* squares) {
      return x * rsqrtf(squares[0] + squares[1] + squares[2] + squares[3] + delta::kNormEps);
    };
    query[column] = unit(q, of_query) * l.query_scale();
    key[column] = unit(k, of_key);
    __syncthreads();
    if (column < h.value_dim) {
      const T* const rate = l.rates + t * 2 * h.value_heads + h.b_at(head);
      const float a = widen(rate[h.a_after()]) + widen(l.dt_bias[head]);
      const float fade = expf(-expf(l.a_log[head]) * delta::softplus(a));
      float said = 0.0F;
      for (int i = 0; i < h.key_dim; ++i) {
        said += state(i, column) * key[i];
      }
      const float value = widen(row[2 * h.keys() + int64_t{head} * h.value_dim + column]);
      const float learnt = delta::sigmoid(widen(rate[0])) * (value - fade * said);
      float answer = 0.0F;
      for (int i = 0; i < h.key_dim; ++i) {
        const float s = fade * state(i, column) + key[i] * learnt;
        state(i, column) = s;
        answer += s * query[i];
      }
      y[t * h.values() + int64_t{head} * h.value_dim + column] = narrow<T>(answer);
    }
  }
  if constexpr (!kInPlace) {
    __syncthreads();
    for (int i = column; i < size; i += kColumns) {
      held[i] = state.at[i];
    }
  }
}

template <class T>
delta::Layer<T> layer_of(const Tensor& qkv, const Tensor& rates, const Tensor& a_log,
                         const Tensor& dt_bias, const Tensor& table, const DeltaHeads& heads,
                         bool backward, Tensor& workspace) {
  const int64_t documents = table.data == nullptr ? 0 : table.shape[1] - 1;
  return {qkv.as<T>(),
          rates.as<T>(),
          dt_bias.as<T>(),
          a_log.f32(),
          table.i32(),
          static_cast<int>(documents),
          heads,
          heads.row() % kVec == 0 && heads.value_dim % kVec == 0,
          DeltaWorkspace(heads, qkv.shape[0], documents, sizeof(T), backward),
          workspace.as<char>()};
}

// The kernels of a layer, made for keys and values of up to D.
template <class T, int D>
class Launch {
 public:
  Launch(CudaDevice& gpu, const delta::Layer<T>& layer)
      : gpu_(gpu),
        l_(layer),
        by_chunk_(static_cast<unsigned>(layer.space.chunks),
                  static_cast<unsigned>(layer.heads.value_heads)),
        by_document_(static_cast<unsigned>(layer.documents), by_chunk_.y,
                     static_cast<unsigned>((layer.space.values + kScanned - 1) / kScanned)) {}

  void states(bool keep_inverse) const {
    delta::table_kernel<T><<<1, delta::kThreads, 0, gpu_.stream()>>>(l_);
    launch<delta::PrepareMemory<T, D>>(
        by_chunk_, [](auto tiles) { return delta::prepare_kernel<T, D, tiles()>; }, keep_inverse);
    launch<delta::ScanMemory<T, D>>(by_document_,
                                    [](auto tiles) { return delta::states_kernel<T, D, tiles()>; });
  }
  void output(T* y) const {
    launch<delta::OutputMemory<T, D>>(
        by_chunk_, [](auto tiles) { return delta::output_kernel<T, D, tiles()>; }, y);
  }
  void backward(const T* grad_y, T* grad_qkv, T* grad_rates) const {
    launch<delta::OutputBackwardMemory<T, D>>(
        by_chunk_, [](auto tiles) { return delta::output_backward_kernel<T, D, tiles()>; }, grad_y);
    launch<delta::ScanBackwardMemory<T, D>>(
        by_document_, [](auto tiles) { return delta::states_backward_kernel<T, D, tiles()>; });
    const auto inputs = [&](auto parts) {
      constexpr int kParts = decltype(parts)::value;
      launch<delta::InputsMemory<T, D, kParts>>(
          dim3(by_chunk_.x, static_cast<unsigned>(l_.heads.key_heads)),
          [](auto tiles) { return delta::inputs_backward_kernel<T, D, kParts, tiles()>; }, grad_qkv,
          grad_rates);
    };
    constexpr bool kWide = D == delta::kMostColumns && sizeof(T) == 2;
    if (kWide && !fits(delta::bytes_of<delta::InputsMemory<T, D, 2>>())) {
      inputs(std::integral_constant<int, kWide ? 4 : 2>{});
    } else {
      inputs(std::integral_constant<int, 2>{});
    }
  }

 private:
  static constexpr int kScanned = delta::ScanMemory<T, D>::kColumns;
  // 16 bits by 64 columns fit every card (59.8 KiB).
  static constexpr bool kMayNotFit = sizeof(T) == 4 || D == delta::kMostColumns;

  bool fits(int bytes) const { return bytes <= gpu_.shared_memory(); }

  // Kernels: gives the kernel whose tiles lie in shared memory, or the other.
  template <class Memory, class Kernels, class... More>
  void launch(dim3 grid, const Kernels& kernels, More... more) const {
    const int bytes = delta::bytes_of<Memory>();
    if (fits(bytes)) {
      auto* const kernel = kernels(std::integral_constant<delta::Tiles, delta::Tiles::shared>{});
      check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
                 "gated_delta");
      kernel<<<grid, delta::kThreads, static_cast<size_t>(bytes), gpu_.stream()>>>(l_, more...);
      return;
    }
    if constexpr (kMayNotFit) {
      auto* const kernel = kernels(std::integral_constant<delta::Tiles, delta::Tiles::global>{});
      SFT_ASSERT(sizeof(T) == sizeof(float) || capability_of(gpu_.ordinal()) < 80);
      const int64_t beside = int64_t{grid.y} * grid.z;
      const auto most = static_cast<int64_t>(Scratch::kBytes) / bytes / beside;
      const auto at_once = static_cast<unsigned>(std::clamp<int64_t>(most, 1, grid.x));
      delta::Layer<T> part = l_;
      part.tile_bytes = bytes;
      part.tiles = gpu_.state<Scratch>().template take<char>(at_once * beside * bytes);
      for (unsigned at = 0; at < grid.x; at += at_once) {
        part.first_block = at;
        kernel<<<dim3(std::min(at_once, grid.x - at), grid.y, grid.z), delta::kThreads, 0,
                 gpu_.stream()>>>(part, more...);
      }
    } else {
      SFT_ASSERT(false);
    }
  }

  CudaDevice& gpu_;
  const delta::Layer<T>& l_;
  dim3 by_chunk_, by_document_;
};

// Calls f with what launches a layer's kernels.
template <class T, class F>
void with_launch(CudaDevice& gpu, const delta::Layer<T>& layer, const F& f) {
  constexpr int kSmall = 64;
  SFT_ASSERT(layer.space.keys <= delta::kMostColumns && layer.space.values <= delta::kMostColumns);
  if (layer.space.keys <= kSmall && layer.space.values <= kSmall) {
    f(Launch<T, kSmall>(gpu, layer));
  } else {
    f(Launch<T, delta::kMostColumns>(gpu, layer));
  }
}

template <class T>
void zero_after(CudaDevice& gpu, const Tensor& table, Tensor& y) {
  zero_after_kernel<<<static_cast<unsigned>(y.shape[0]), 128, 0, gpu.stream()>>>(
      table.i32(), static_cast<int>(table.shape[1]) - 1, y.shape[1], y.as<T>());
}

}  // namespace

void gated_delta_forward(Device& device, const Tensor& qkv, const Tensor& rates,
                         const Tensor& a_log, const Tensor& dt_bias, const Tensor& table,
                         const DeltaHeads& heads, Tensor& y, Tensor& workspace) {
  CudaDevice& gpu = cuda(device);
  with_type(qkv.dtype, [&](auto type) {
    using T = decltype(type);
    const auto layer = layer_of<T>(qkv, rates, a_log, dt_bias, table, heads, false, workspace);
    zero_after<T>(gpu, table, y);
    with_launch(gpu, layer, [&](const auto& launch) {
      launch.states(false);
      launch.output(y.as<T>());
    });
  });
  check_cuda(cudaGetLastError(), "gated_delta");
}

void gated_delta_backward(Device& device, const Tensor& grad_y, const Tensor& qkv,
                          const Tensor& rates, const Tensor& a_log, const Tensor& dt_bias,
                          const Tensor& table, const DeltaHeads& heads, Tensor& grad_qkv,
                          Tensor& grad_rates, Tensor& grad_a_log, bool accumulate_a_log,
                          Tensor& grad_dt_bias, bool accumulate_dt_bias, Tensor& workspace) {
  CudaDevice& gpu = cuda(device);
  with_type(qkv.dtype, [&](auto type) {
    using T = decltype(type);
    const auto layer = layer_of<T>(qkv, rates, a_log, dt_bias, table, heads, true, workspace);
    zero_after<T>(gpu, table, grad_qkv);
    zero_after<T>(gpu, table, grad_rates);
    with_launch(gpu, layer, [&](const auto& launch) {
      launch.states(true);
      launch.backward(grad_y.as<T>(), grad_qkv.as<T>(), grad_rates.as<T>());
    });
    const int64_t chunks = layer.space.chunks;
    const auto* const sums =
        reinterpret_cast<const float*>(workspace.as<char>() + layer.space.sums);
    if (grad_a_log.data != nullptr) {
      column_sums(gpu, sums, chunks, heads.value_heads, grad_a_log.f32(), accumulate_a_log);
    }
    if (grad_dt_bias.data != nullptr) {
      column_sums(gpu, sums + chunks * heads.value_heads, chunks, heads.value_heads,
                  grad_dt_bias.f32(), accumulate_dt_bias);
    }
  });
  check_cuda(cudaGetLastError(), "gated_delta.backward");
}

void cached_delta_forward(Device& device, const Tensor& qkv, const Tensor& rates,
                          const Tensor& a_log, const Tensor& dt_bias, const Tensor& past,
                          const Tensor& lanes, const DeltaHeads& heads, Tensor& state, Tensor& y) {
  CudaDevice& gpu = cuda(device);
  const int64_t texts = lanes.shape[0];
  SFT_ASSERT(heads.key_dim <= kColumns && heads.value_dim <= kColumns);
  with_type(qkv.dtype, [&](auto type) {
    using T = decltype(type);
    Tensor none;
    const auto layer = layer_of<T>(qkv, rates, a_log, dt_bias, {}, heads, false, none);
    const int bytes = heads.key_dim * heads.value_dim * static_cast<int>(sizeof(float));
    constexpr int kStatic = 2048;
    const bool fits = bytes + kStatic <= gpu.shared_memory();
    const auto kernel = fits ? cached_kernel<T, false> : cached_kernel<T, true>;
    const int dynamic = fits ? bytes : 0;
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, dynamic),
               "cached_gated_delta");
    const dim3 grid(static_cast<unsigned>(texts), static_cast<unsigned>(heads.value_heads));
    kernel<<<grid, kColumns, static_cast<size_t>(dynamic), gpu.stream()>>>(
        layer, past.i32(), lanes.i32(), qkv.shape[0] / texts, state.f32(), y.as<T>());
  });
  check_cuda(cudaGetLastError(), "cached_gated_delta");
}

}  // namespace sft::gpu
