// Weights on their way into a file quantised, as bitsandbytes saves them. Used by `sft merge`.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "io/model_source.h"
#include "io/safetensors_writer.h"
#include "model/quantisation.h"

namespace sft {

// Sums of squares over all weights that were quantised: of them, of what rounding has changed, and
// of how far they were from those of a source before.
struct PackingLoss {
  double weights = 0, rounding = 0, update = 0;
};

struct PackedWeights {
  std::vector<StreamedTensor> tensors;
  std::shared_ptr<const PackingLoss> loss;  // known when all are written
};

// `plain` (float32), of which those that `packs` names are replaced by their codes and what belongs
// to these. One tensor at a time is in memory. `from`: the type that values are rounded to before.
// `source`: what is compared with; it outlives the result.
PackedWeights packed_weights(std::vector<StreamedTensor> plain, const BnbConfig& config, DType from,
                             const std::function<bool(const std::string& name)>& packs,
                             const ModelSource& source, ThreadPool* pool);

}  // namespace sft
