// What a GPU of an older compute capability cannot do, refused before a run begins; and the type it
// computes in when none is asked for. Used where the device is chosen.
#pragma once

#include <string>

#include "core/dtype.h"
#include "settings/train_options.h"

namespace sft {

// bfloat16 from 8.0 on, else float16, which keeps products on the tensor cores of 7.0 and 7.5; its
// loss is scaled. `capability`: 10 * major + minor, so 70 for a V100.
DType type_of_capability(int capability);

// C085 for an option that needs more than the GPU `name` has.
void check_capability(const TrainOptions& options, int capability, const std::string& name);

}  // namespace sft
