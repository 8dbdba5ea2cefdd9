// Matrix products through cuBLASLt. Row-major on the outside: c (m, n) = alpha op(a) op(b) + beta
// c.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "device/cuda/cuda_device.h"

namespace sft {

struct CudaGemm {
  bool transpose_a = false, transpose_b = false;
  int64_t m = 0, n = 0, k = 0;
  float alpha = 1.0F, beta = 0.0F;
  const void *a = nullptr, *b = nullptr;
  void* c = nullptr;
  int64_t lda = 0, ldb = 0, ldc = 0;
  DType type = DType::f32;      // of a and b; f8_rows, i8_rows: codes of these
  DType out_type = DType::f32;  // of c: `type` or float32; of i8_rows i32
  const void* bias = nullptr;   // (n), of out_type: added to each row of c
  // Of codes: what a row of a (m) and of b (n) is to be multiplied with, where scales_by_rows
  // (null: nothing). transpose_b is set then.
  const float *a_scales = nullptr, *b_scales = nullptr;
  bool fast = false;  // codes may be added up with fewer digits
};

// Whether cuBLASLt takes scales by rows: that of CUDA 12.9 and newer, on compute capability 9.0.
bool scales_by_rows(const CudaDevice& gpu);

// The algorithm is chosen by trying cuBLASLt's best guesses on the first call of a shape outside of
// recording, and kept from then on.
void gemm(CudaDevice& device, const CudaGemm& g);

}  // namespace sft
