// Rows of a packed table by token id, for embedding_cuda.cu.
#pragma once

#include "device/cuda/cuda_device.h"

namespace sft {

// As embedding_forward, of a table in a packed format.
void embedding_packed(CudaDevice& gpu, const Tensor& tokens, const Tensor& table, float scale,
                      Tensor& y);

}  // namespace sft
