// How fast a device could be, and how much work a token is: what a run reaches of it is its MFU.
// Used by the trainer's log and by `sft bench`.
#pragma once

#include <cstdint>
#include <string>

#include "model/model.h"

namespace sft {

// bfloat16 operations a second without sparsity, from the makers' data sheets; 0: not known.
double peak_flops(const std::string& device);

// Operations of a token's matrix products, forward and backward, in documents of `seq` tokens; 0:
// without those of attention, which depend on it (states of linear attention do not). Of experts
// those count that a token goes to.
double flops_per_token(const Model& model, int64_t seq);

}  // namespace sft
