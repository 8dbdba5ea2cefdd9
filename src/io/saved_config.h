// The edits that the saver makes to a model's JSON files. Used by model_saver.cpp.
#pragma once

#include <map>
#include <string>

#include "io/json_edit.h"
#include "io/model_saver.h"

namespace sft {

// What was really written, which config.json has to say.
struct SavedFacts {
  int64_t vocab_size = 0;  // rows of the embedding; 0 when it was not among the weights
  bool tied = false;       // no lm_head in the files
};

// config.json: both dtype keys, both rope forms, eos_token_id, use_cache, tie_word_embeddings,
// vocab_size, sft_version; a private _name_or_path is dropped.
void edit_config(JsonEditor& config, const SaveOptions& options, const SavedFacts& facts);

// Whichever of (rope_theta, rope_scaling) and rope_parameters is missing is derived from the other;
// nothing is done when both are there or neither is.
void complete_rope_forms(JsonEditor& config);

// generation_config.json: the turn-end token first among the eos ids.
void edit_generation_config(JsonEditor& generation, const Json& source_config,
                            const SaveOptions& options);

// tokenizer_config.json: a class that both generations of transformers know, the turn-end token as
// eos_token, the chat templates inline.
void edit_tokenizer_config(JsonEditor& tokenizer, const Json& source_config,
                           const std::map<std::string, std::string>& templates,
                           const SaveOptions& options);

// special_tokens_map.json as transformers 4 writes it, from a tokenizer_config.json.
Json special_tokens_map(const Json& tokenizer_config);

// An eos_token_id (absent, null, a number or a list) as a list of ids.
std::vector<int64_t> eos_ids(const Json& config);

}  // namespace sft
