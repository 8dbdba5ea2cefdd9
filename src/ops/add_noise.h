// Noise on the embeddings (NEFTune), drawn by the host.
#pragma once

#include "device/kernel.h"
#include "graph/program.h"

namespace sft {

// x (tokens, hidden) + noise (tokens, hidden) f32 -> (tokens, hidden). The gradient passes through.
Value add_noise(Program& p, Value x, Value noise);

SFT_KERNEL(void, add_noise, const Tensor& x, const Tensor& noise, Tensor& y);

}  // namespace sft
