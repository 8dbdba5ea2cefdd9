// The names of a model folder's files, as the ecosystem has them. Used by all that reads, fetches
// or writes such a folder.
#pragma once

#include <array>

namespace sft {

inline constexpr const char* kWeights = "model.safetensors";
inline constexpr const char* kWeightsIndex = "model.safetensors.index.json";

// Beside the weights: small files of text, of which a model has some.
inline constexpr std::array kModelTexts = {
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "chat_template.jinja", "chat_template.json", "added_tokens.json",
    "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model",
    // Of models with pictures.
    "processor_config.json", "preprocessor_config.json"};

}  // namespace sft
