#include "ops/cpu/gemm.h"
#include "ops/lora.h"

namespace sft::cpu {

namespace {

int64_t rank_of(const Tensor& low, const std::vector<LoraPiece>& pieces) {
  return low.shape[1] / static_cast<int64_t>(pieces.size());
}

}  // namespace

void lora_up(Device& device, const Tensor& low, const Tensor& b,
             const std::vector<LoraPiece>& pieces, Tensor& y, bool accumulate) {
  const int64_t rank = rank_of(low, pieces);
  const float* rows = b.f32();
  for (size_t i = 0; i < pieces.size(); ++i) {
    gemm(device.threads(), {.transpose_b = true,
                            .m = low.shape[0],
                            .n = pieces[i].rows,
                            .k = rank,
                            .alpha = pieces[i].scale,
                            .a = low.f32() + static_cast<int64_t>(i) * rank,
                            .lda = low.shape[1],
                            .b = rows,
                            .ldb = rank,
                            .beta = accumulate ? 1.0F : 0.0F,
                            .c = y.f32() + pieces[i].first_row,
                            .ldc = y.shape[1]});
    rows += pieces[i].rows * rank;
  }
}

void lora_up_backward_input(Device& device, const Tensor& grad_y, const Tensor& b,
                            const std::vector<LoraPiece>& pieces, Tensor& grad_low) {
  const int64_t rank = rank_of(grad_low, pieces);
  const float* rows = b.f32();
  for (size_t i = 0; i < pieces.size(); ++i) {
    gemm(device.threads(), {.m = grad_y.shape[0],
                            .n = rank,
                            .k = pieces[i].rows,
                            .alpha = pieces[i].scale,
                            .a = grad_y.f32() + pieces[i].first_row,
                            .lda = grad_y.shape[1],
                            .b = rows,
                            .ldb = rank,
                            .c = grad_low.f32() + static_cast<int64_t>(i) * rank,
                            .ldc = grad_low.shape[1]});
    rows += pieces[i].rows * rank;
  }
}

void lora_up_backward_weight(Device& device, const Tensor& grad_y, const Tensor& low,
                             const std::vector<LoraPiece>& pieces, Tensor& grad_b,
                             bool accumulate) {
  const int64_t rank = rank_of(low, pieces);
  float* rows = grad_b.f32();
  for (size_t i = 0; i < pieces.size(); ++i) {
    gemm(device.threads(), {.transpose_a = true,
                            .m = pieces[i].rows,
                            .n = rank,
                            .k = grad_y.shape[0],
                            .alpha = pieces[i].scale,
                            .a = grad_y.f32() + pieces[i].first_row,
                            .lda = grad_y.shape[1],
                            .b = low.f32() + static_cast<int64_t>(i) * rank,
                            .ldb = low.shape[1],
                            .beta = accumulate ? 1.0F : 0.0F,
                            .c = rows,
                            .ldc = rank});
    rows += pieces[i].rows * rank;
  }
}

}  // namespace sft::cpu
