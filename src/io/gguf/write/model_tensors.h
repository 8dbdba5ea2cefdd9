// The tensors of a model as a GGUF file has them: their order, names, formats, and where their
// values come from. Used by the export.
#pragma once

#include <vector>

#include "io/gguf/family.h"
#include "io/gguf/write/mix.h"
#include "io/gguf/write/writer.h"
#include "io/model_source.h"

namespace sft {

// Keeps a reference to the source, whose values are read while the file is written. M231 for a
// tensor that the family has no name for; M244, M245 for those that are missing or have another
// shape.
std::vector<GgufOutput> gguf_tensors(const ModelSource& source, const GgufFamily& family,
                                     const GgufMix& mix);

}  // namespace sft
