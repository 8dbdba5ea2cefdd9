#include "ops/gated_mlp.h"

// On compute capability 9.0 the activation is part of the matrix product; elsewhere, and for what
// that kernel does not take, the product and the activation run one after the other.
#include "ops/cuda/gated_gemm.cuh"

namespace sft::gpu {

namespace {

#ifdef SFT_HOPPER

constexpr int64_t kFewRows = 2048;  // below, the product alone leaves multiprocessors idle
constexpr int kGroup = 16;

bool fits(CudaDevice& device, const Tensor& x, int64_t hidden, int64_t intermediate) {
  return device.hopper() && x.dtype == DType::bf16 && x.shape[0] >= kFewRows && hidden % 8 == 0 &&
         intermediate % 8 == 0;
}

template <Activation kind>
void fused_forward(CudaDevice& device, const Tensor& x, const Tensor& weight, Tensor& gate_up,
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
  launch_gated_gemm<Plan>(device.stream(), device.multiprocessors(), maps, tokens, n, hidden,
                          kGroup);
}

template <Activation kind>
void fused_backward(CudaDevice& device, const Tensor& grad_y, const Tensor& weight,
                    const Tensor& gate_up, Tensor& grad_gate_up) {
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
  launch_gated_gemm<Plan>(device.stream(), device.multiprocessors(), maps, tokens, n, hidden,
                          kGroup);
}

#endif

}  // namespace

void gated_mlp_forward(Device& device, const Tensor& x, const Tensor& weight, Activation activation,
                       Tensor& gate_up, Tensor& y) {
#ifdef SFT_HOPPER
  if (fits(cuda(device), x, x.shape[1], y.shape[1])) {
    return activation == Activation::silu
               ? fused_forward<Activation::silu>(cuda(device), x, weight, gate_up, y)
               : fused_forward<Activation::gelu_tanh>(cuda(device), x, weight, gate_up, y);
  }
#endif
  linear_forward(device, x, weight, {}, 1.0F, gate_up, false);
  gated_activation_forward(device, gate_up, activation, y);
}

void gated_mlp_backward(Device& device, const Tensor& grad_y, const Tensor& weight,
                        const Tensor& gate_up, Activation activation, Tensor& grad_gate_up,
                        Tensor& workspace) {
#ifdef SFT_HOPPER
  if (fits(cuda(device), grad_y, grad_y.shape[1], weight.shape[1])) {
    return activation == Activation::silu
               ? fused_backward<Activation::silu>(cuda(device), grad_y, weight, gate_up,
                                                  grad_gate_up)
               : fused_backward<Activation::gelu_tanh>(cuda(device), grad_y, weight, gate_up,
                                                       grad_gate_up);
  }
#endif
  linear_backward_input(device, grad_y, weight, 1.0F, workspace, false);
  gated_activation_backward(device, workspace, gate_up, activation, grad_gate_up);
}

}  // namespace sft::gpu
