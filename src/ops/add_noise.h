// Noise on the embeddings (NEFTune), drawn by the host.
#pragma once

#include "graph/program.h"

namespace sft {

// x (tokens, hidden) + noise (tokens, hidden) f32 -> (tokens, hidden). The gradient passes through.
Value add_noise(Program& p, Value x, Value noise);

namespace cpu {
void add_noise(Device& device, const Tensor& x, const Tensor& noise, const Tensor& y);
}  // namespace cpu

}  // namespace sft
