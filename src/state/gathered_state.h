// The training state of all ranks in the host's memory of rank 0, for what it saves. Used by the
// trainer from ZeRO stage 1 on.
#pragma once

#include <vector>

#include "io/safetensors_writer.h"
#include "state/sharder.h"

namespace sft {

// What a checkpoint of a run holds in tensors, whoever has which part of them; `optimizer` null:
// the weights alone.
std::vector<StatePart> whole_state(const Model& model, DType weight_type,
                                   const OptimizerSettings* optimizer);

struct GatheredState {
  Buffer memory;
  std::vector<NamedTensor> tensors;  // whole, in `memory`, under the names of state_parts

  std::vector<StreamedTensor> streamed() const { return sft::streamed(tensors); }
};

// Every rank calls it between two steps; all but rank 0 get nothing. `optimizer` false: the weights
// alone.
GatheredState gather_state(Sharder& sharder, bool first_rank, bool optimizer);

}  // namespace sft
