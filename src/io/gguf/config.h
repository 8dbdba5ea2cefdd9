// config.json and generation_config.json of a model in a GGUF file, as transformers would have
// written them: both rope forms, both dtype keys. Used by GgufSource.
#pragma once

#include <optional>
#include <vector>

#include "core/json_fwd.h"
#include "io/gguf/family.h"
#include "io/gguf/file.h"

namespace sft {

// M228 or M230 when the metadata does not describe a model of the family.
Json config_from_gguf(const GgufFile& file, const GgufFamily& family, std::string_view dtype);
Json generation_config_from_gguf(const GgufFile& file);

// The rope_scaling object ("llama3") whose frequency divisors are `divisors` (head_dim / 2 of
// them), or nothing when no such object gives them. Only ratios of its numbers matter, so
// low_freq_factor is taken as 1, as every published model has it.
std::optional<Json> llama3_rope_from_divisors(const std::vector<float>& divisors, double theta);

}  // namespace sft
