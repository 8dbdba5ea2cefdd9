// What the kernels of few_rows_cuda.cu work on, and those for packed weights, which are compiled
// apart.
#pragma once

#include "device/cuda/cuda_device.h"

namespace sft::few_rows {

struct Places {
  int64_t in;     // values of a row
  int64_t rows;   // of this part; gated: of gate
  int64_t up_at;  // gated: the first row of up in the second format
  int64_t first;  // where the part's results begin in a row of y
  int64_t ld;     // values of a row of y
  int split;      // warps of two rows
  int x_rows;
  DType type;  // of x, bias and y
  bool normed, accumulate, gelu;
  float eps, offset, alpha;
};

struct Operands {
  Places places;
  bool gated = false;
  const void* x = nullptr;
  const float* norm = nullptr;
  const void* bias = nullptr;
  void* y = nullptr;
};

// Whether the part is in ggml's blocks, or in codes of 4 or 8 bits with scales apart; if so the
// product is launched. `second`: where up lies when the product is gated, else `first` again.
bool product_of_blocks(CudaDevice& gpu, const Tensor& first, const Tensor& second,
                       const Operands& operands);
bool product_of_codes(CudaDevice& gpu, const Tensor& first, const Tensor& second,
                      const Operands& operands);

}  // namespace sft::few_rows
