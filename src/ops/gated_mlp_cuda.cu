#include "ops/gated_mlp.h"

// On compute capability 9.0 the activation is part of the matrix product; elsewhere, and for what
// that kernel does not take, the product and the activation run one after the other.
#include "device/cuda/scratch.h"
#include "ops/cuda/gated_gemm.cuh"
#include "ops/cuda/rows.cuh"
#include "ops/row_range.h"

namespace sft::gpu {

namespace {

#ifdef SFT_HOPPER

constexpr int64_t kFewRows = 2048;  // below, the product alone leaves multiprocessors idle
constexpr int kGroup = 16;

bool fits(CudaDevice& device, const Tensor& x, int64_t hidden, int64_t intermediate) {
  return device.hopper() && x.dtype == DType::bf16 && x.shape[0] >= kFewRows && hidden % 8 == 0 &&
         intermediate % 8 == 0;
}

// Where gate's and up's parts of an adapter's second matrix go to, for one product with all of its
// middle: (rows of both, all ranks), zero where a row has none.
struct Pieces {
  static constexpr int kMost = 2;
  int64_t rank, count;
  LoraPiece piece[kMost];
};

__global__ void place_pieces_kernel(const __nv_bfloat16* b, const Pieces pieces, int64_t rows,
                                    __nv_bfloat16* out) {
  const int64_t width = pieces.rank * pieces.count;
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= rows * width) {
    return;
  }
  const int64_t row = i / width;
  const int64_t column = i % width;
  const LoraPiece& piece = pieces.piece[column / pieces.rank];
  const int64_t before = column < pieces.rank ? 0 : pieces.piece[0].rows;
  const int64_t at = row - piece.first_row;
  const bool inside = at >= 0 && at < piece.rows;
  out[i] = sft::narrow<__nv_bfloat16>(
      inside ? piece.scale * sft::widen(b[(before + at) * pieces.rank + column % pieces.rank])
             : 0.0F);
}

bool fits_adapter(const Tensor& low, int64_t rows, const std::vector<LoraPiece>& pieces) {
  return low.data == nullptr || (low.shape[1] % 8 == 0 && pieces.size() <= Pieces::kMost &&
                                 rows * low.shape[1] * 2 <= static_cast<int64_t>(Scratch::kBytes));
}

template <Activation kind>
void fused_forward(CudaDevice& device, const Tensor& x, const Tensor& weight, const Tensor& low,
                   const Tensor& b, const std::vector<LoraPiece>& pieces, Tensor& gate_up,
                   Tensor& y) {
  using Plan = GatedPlan<kind, false>;
  const int64_t tokens = x.shape[0];
  const int64_t hidden = x.shape[1];
  const int64_t n = y.shape[1];
  const auto* w = weight.as<__nv_bfloat16>();
  auto* out = gate_up.as<__nv_bfloat16>();
  GatedMaps maps{};
  maps.a = tensor_map(x.data, tokens, hidden, hidden, Plan::kTileM);
  maps.b[0] = tensor_map(w, n, hidden, hidden, 64);
  maps.b[1] = tensor_map(w + n * hidden, n, hidden, hidden, 64);
  maps.out[0] = tensor_map(out, tokens, n, 2 * n, 64);
  maps.out[1] = tensor_map(out + n, tokens, n, 2 * n, 64);
  maps.out[2] = tensor_map(y.data, tokens, n, n, 64);
  const int64_t depth = low.data == nullptr ? 0 : low.shape[1];
  if (depth > 0) {
    Pieces placed{
        depth / static_cast<int64_t>(pieces.size()), static_cast<int64_t>(pieces.size()), {}};
    std::ranges::copy(pieces, placed.piece);
    auto* const wide = device.state<Scratch>().take<__nv_bfloat16>(2 * n * depth);
    constexpr int kThreads = 256;
    const auto blocks = static_cast<unsigned>((2 * n * depth + kThreads - 1) / kThreads);
    place_pieces_kernel<<<blocks, kThreads, 0, device.stream()>>>(b.as<__nv_bfloat16>(), placed,
                                                                  2 * n, wide);
    maps.low_a = tensor_map(low.data, tokens, depth, depth, Plan::kTileM);
    maps.low_b[0] = tensor_map(wide, n, depth, depth, 64);
    maps.low_b[1] = tensor_map(wide + n * depth, n, depth, depth, 64);
  }
  launch_gated_gemm<Plan>(device.stream(), device.multiprocessors(), maps, tokens, n, hidden, depth,
                          kGroup);
}

template <Activation kind>
void fused_backward(CudaDevice& device, const Tensor& grad_y, const Tensor& weight,
                    const Tensor& grad_low, const Tensor& a, const Tensor& gate_up,
                    Tensor& grad_gate_up) {
  using Plan = GatedPlan<kind, true>;
  const int64_t tokens = grad_y.shape[0];
  const int64_t hidden = grad_y.shape[1];
  const int64_t n = weight.shape[1];
  const auto* in = gate_up.as<__nv_bfloat16>();
  auto* out = grad_gate_up.as<__nv_bfloat16>();
  GatedMaps maps{};
  maps.a = tensor_map(grad_y.data, tokens, hidden, hidden, Plan::kTileM);
  maps.b[0] = tensor_map(weight.data, hidden, n, n, 64);
  maps.in[0] = tensor_map(in, tokens, n, 2 * n, 64);
  maps.in[1] = tensor_map(in + n, tokens, n, 2 * n, 64);
  maps.out[0] = tensor_map(out, tokens, n, 2 * n, 64);
  maps.out[1] = tensor_map(out + n, tokens, n, 2 * n, 64);
  const int64_t depth = grad_low.data == nullptr ? 0 : grad_low.shape[1];
  if (depth > 0) {
    maps.low_a = tensor_map(grad_low.data, tokens, depth, depth, Plan::kTileM);
    maps.low_b[0] = tensor_map(a.data, depth, n, n, 64);
  }
  launch_gated_gemm<Plan>(device.stream(), device.multiprocessors(), maps, tokens, n, hidden, depth,
                          kGroup);
}

#endif

}  // namespace

void gated_mlp_forward(Device& device, const Tensor& x, const Tensor& weight, const Tensor& low,
                       const Tensor& b, const std::vector<LoraPiece>& pieces, Activation activation,
                       Tensor& gate_up, Tensor& y) {
#ifdef SFT_HOPPER
  if (fits(cuda(device), x, x.shape[1], y.shape[1]) &&
      fits_adapter(low, gate_up.shape[1], pieces)) {
    const auto forward = activation == Activation::silu ? fused_forward<Activation::silu>
                                                        : fused_forward<Activation::gelu_tanh>;
    return forward(cuda(device), x, weight, low, b, pieces, gate_up, y);
  }
#endif
  linear_forward(device, x, weight, {}, 1.0F, gate_up, false);
  if (low.data != nullptr) {
    lora_up(device, low, b, pieces, gate_up, true);
  }
  gated_activation_forward(device, gate_up, activation, y);
}

void gated_mlp_backward(Device& device, const Tensor& grad_y, const Tensor& weight,
                        const Tensor& grad_low, const Tensor& a, const Tensor& gate_up,
                        Activation activation, Tensor& grad_gate_up, Tensor& workspace) {
#ifdef SFT_HOPPER
  if (fits(cuda(device), grad_y, grad_y.shape[1], weight.shape[1]) &&
      fits_adapter(grad_low, 0, {})) {
    const auto backward = activation == Activation::silu ? fused_backward<Activation::silu>
                                                         : fused_backward<Activation::gelu_tanh>;
    return backward(cuda(device), grad_y, weight, grad_low, a, gate_up, grad_gate_up);
  }
#endif
  const bool adapted = grad_low.data != nullptr;
  const int64_t tokens = grad_y.shape[0];
  const int64_t step = workspace.shape[0];
  for (int64_t first = 0; first < tokens; first += step) {
    const int64_t count = std::min(step, tokens - first);
    Tensor grad = row_range(workspace, 0, count);
    Tensor out = row_range(grad_gate_up, first, count);
    if (adapted) {
      linear_backward_input(device, row_range(grad_low, first, count), a, 1.0F, grad, false);
    }
    linear_backward_input(device, row_range(grad_y, first, count), weight, 1.0F, grad, adapted);
    gated_activation_backward(device, grad, row_range(gate_up, first, count), activation, out);
  }
}

}  // namespace sft::gpu
