// The keys of a GGUF file that describe an architecture, from config.json. Used by the export.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/json.h"
#include "io/gguf/family.h"
#include "io/gguf/write/metadata.h"
#include "model/model.h"
#include "text/gguf/vocabulary.h"

namespace sft {

// A size of the vocabulary for which the converter has the runtime begin no text with a token.
inline constexpr int64_t kSmolVocab = 49152;

// M284 for a setting that llama.cpp has no key for.
void set_model_keys(GgufMetadata& metadata, const GgufFamily& family, const Json& config,
                    const ModelConfig& model, uint32_t file_type);
void set_tokenizer_keys(GgufMetadata& metadata, const GgufFamily& family,
                        const WrittenVocabulary& vocabulary, const Json& tokenizer_config,
                        int64_t vocab);
void set_template_keys(GgufMetadata& metadata, const std::map<std::string, std::string>& templates);

// Llama 3's divisors of each frequency, which are a tensor in a GGUF file; empty for other models.
std::vector<float> llama3_divisors(const Json& config, int head_dim);

}  // namespace sft
