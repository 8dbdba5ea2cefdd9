// The keys of a GGUF file that describe an architecture, from config.json. Used by the export.
#pragma once

#include "core/json.h"
#include "io/gguf/family.h"
#include "io/gguf/write/metadata.h"
#include "model/model.h"

namespace sft {

// The keys that the converter sets before all others.
void set_first_keys(GgufMetadata& metadata, const GgufFamily& family, const Json& config);
// For a model that check_gguf_model takes; M284 for a rope scaling that llama.cpp has no key for.
void set_model_keys(GgufMetadata& metadata, const GgufFamily& family, const Json& config,
                    const ModelConfig& model, uint32_t file_type);

}  // namespace sft
