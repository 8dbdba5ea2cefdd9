// The keys of a GGUF file that describe a tokenizer and its chat templates. Used by the export.
#pragma once

#include <map>
#include <string>

#include "core/json.h"
#include "io/gguf/family.h"
#include "io/gguf/write/metadata.h"
#include "text/gguf/vocabulary.h"

namespace sft {

// A size of the vocabulary for which the converter has the runtime begin no text with a token.
inline constexpr int64_t kSmolVocab = 49152;

// What the converter knows of a family's special tokens whatever the folder says, and llama.cpp's
// name for how they cut words.
void add_family_tokens(const GgufFamily& family, WrittenVocabulary& vocabulary);
void set_tokenizer_keys(GgufMetadata& metadata, const GgufFamily& family,
                        const WrittenVocabulary& vocabulary, const Json& tokenizer_config,
                        int64_t vocab);
void set_template_keys(GgufMetadata& metadata, const std::map<std::string, std::string>& templates);
// The keys behind all others.
void set_last_tokenizer_keys(GgufMetadata& metadata, const GgufFamily& family, const Json& config,
                             const Json& generation, const Json& tokenizer_config);

}  // namespace sft
