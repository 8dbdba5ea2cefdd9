// What a GGUF file says of rotary positions, as config.json says it. Used by the synthesis of
// config.json.
#pragma once

#include "core/json_fwd.h"
#include "io/gguf/metadata_reader.h"

namespace sft {

// Sets rope_theta, rope_scaling and rope_parameters; M230 for a scaling that is not supported.
void add_rope(const MetadataReader& reader, Json& config);

}  // namespace sft
