#include "ops/cuda/gemm.h"
#include "ops/cuda/rows.cuh"
#include "ops/lora.h"

namespace sft::gpu {

namespace {

int64_t rank_of(const Tensor& low, const std::vector<LoraPiece>& pieces) {
  return low.shape[1] / static_cast<int64_t>(pieces.size());
}

// Element `at` of a tensor's memory.
std::byte* beyond(const Tensor& t, int64_t at) {
  return static_cast<std::byte*>(const_cast<void*>(static_cast<const void*>(t.data))) +
         at * static_cast<int64_t>(size_of(t.dtype));
}

}  // namespace

void lora_up(Device& device, const Tensor& low, const Tensor& b,
             const std::vector<LoraPiece>& pieces, Tensor& y, bool accumulate) {
  const int64_t rank = rank_of(low, pieces);
  int64_t row = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    gemm(cuda(device), {.transpose_b = true,
                        .m = low.shape[0],
                        .n = pieces[i].rows,
                        .k = rank,
                        .alpha = pieces[i].scale,
                        .beta = accumulate ? 1.0F : 0.0F,
                        .a = beyond(low, static_cast<int64_t>(i) * rank),
                        .b = beyond(b, row * rank),
                        .c = beyond(y, pieces[i].first_row),
                        .lda = low.shape[1],
                        .ldb = rank,
                        .ldc = y.shape[1],
                        .type = low.dtype,
                        .out_type = y.dtype});
    row += pieces[i].rows;
  }
}

void lora_up_backward_input(Device& device, const Tensor& grad_y, const Tensor& b,
                            const std::vector<LoraPiece>& pieces, Tensor& grad_low) {
  const int64_t rank = rank_of(grad_low, pieces);
  int64_t row = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    gemm(cuda(device), {.m = grad_y.shape[0],
                        .n = rank,
                        .k = pieces[i].rows,
                        .alpha = pieces[i].scale,
                        .a = beyond(grad_y, pieces[i].first_row),
                        .b = beyond(b, row * rank),
                        .c = beyond(grad_low, static_cast<int64_t>(i) * rank),
                        .lda = grad_y.shape[1],
                        .ldb = rank,
                        .ldc = grad_low.shape[1],
                        .type = grad_y.dtype,
                        .out_type = grad_low.dtype});
    row += pieces[i].rows;
  }
}

void lora_up_backward_weight(Device& device, const Tensor& grad_y, const Tensor& low,
                             const std::vector<LoraPiece>& pieces, Tensor& grad_b,
                             bool accumulate) {
  const int64_t rank = rank_of(low, pieces);
  int64_t row = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    gemm(cuda(device), {.transpose_a = true,
                        .m = pieces[i].rows,
                        .n = rank,
                        .k = grad_y.shape[0],
                        .alpha = pieces[i].scale,
                        .beta = accumulate ? 1.0F : 0.0F,
                        .a = beyond(grad_y, pieces[i].first_row),
                        .b = beyond(low, static_cast<int64_t>(i) * rank),
                        .c = beyond(grad_b, row * rank),
                        .lda = grad_y.shape[1],
                        .ldb = low.shape[1],
                        .ldc = rank,
                        .type = grad_y.dtype,
                        .out_type = grad_b.dtype});
    row += pieces[i].rows;
  }
}

}  // namespace sft::gpu
