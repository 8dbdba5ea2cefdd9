// Packed number formats: what a block of codes stands for. The functions here are the
// specification that kernels on devices are tested against. Used where frozen weights are read
// (state/frozen_weights) and where a product needs their values (ops' widen).
#pragma once

#include "core/tensor.h"
#include "core/thread_pool.h"

namespace sft {

// Values [begin, end) of a packed or plain floating tensor as float32.
void decode(const Tensor& packed, int64_t begin, int64_t end, float* to);
// All of them, shared out over a pool (null: by the caller alone).
void decode(const Tensor& packed, float* to, ThreadPool* pool);

// Writes a whole tensor's values into `packed`, whose memory it fills. Not for ggml's blocks,
// float8 by blocks and MXFP4, which are taken as a file has them.
void encode(const float* values, Tensor& packed, ThreadPool* pool = nullptr);
bool can_encode(DType type);

}  // namespace sft
