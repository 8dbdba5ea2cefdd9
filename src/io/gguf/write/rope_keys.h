// The keys and tensors of a GGUF file that say how positions turn queries and keys. Used by the
// keys of a model and by the export of its tensors.
#pragma once

#include <string>
#include <vector>

#include "core/json.h"
#include "io/gguf/write/metadata.h"

namespace sft {

// The rope's parameters of the layers that see all, whichever generation config.json is of.
Json rope_of(const Json& config);

// M284 for a scaling that llama.cpp has no key for. `gemma`: two bases, as they are published.
void set_rope(GgufMetadata& metadata, const std::string& architecture, const Json& config,
              bool gemma);
// The values of a head that each of a picture's axes turns; text alone goes by the sum.
void set_sections(GgufMetadata& metadata, const std::string& architecture, const Json& sections);

// What longrope multiplies attention by, as the converter reckons it.
double longrope_attention(const Json& config);

// Llama 3's divisors of each frequency, which are a tensor in a GGUF file; empty for other models.
std::vector<float> llama3_divisors(const Json& config, int head_dim);

}  // namespace sft
