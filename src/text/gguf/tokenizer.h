// Turns the vocabulary inside a GGUF file into the tokenizer.json and tokenizer_config.json that
// Hugging Face's libraries, and our own Tokenizer, load and encode the same with. Used by io.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/json_fwd.h"

namespace sft {

// The tokenizer.ggml.* values of a GGUF file, by their names there.
struct GgufVocabulary {
  // "gpt2" (byte-level BPE), "llama" (SentencePiece BPE) or "gemma4" (the same with its merges)
  std::string model;
  std::string pre;  // how "gpt2" cuts words: smollm, qwen2, llama-bpe, gpt-2, tekken
  std::vector<std::string> tokens;
  std::vector<int32_t> token_types;  // 1 normal 2 unknown 3 control 4 user-defined 5 unused 6 byte
  std::vector<float> scores;         // of "llama"
  std::vector<std::string> merges;   // "a b", of all but "llama"
  std::optional<int64_t> bos_id, eos_id, pad_id, unk_id;
  std::optional<bool> add_bos, add_eos, add_space_prefix;
  std::string chat_template;              // "" is none
  std::optional<int64_t> context_length;  // becomes model_max_length
};

// M112 for a model or pre that is not known, M113 for lists that do not fit together. Write the
// result with dump(); do not look keys up in its "vocab", which is far too long for that.
Json tokenizer_json_from_gguf(const GgufVocabulary& vocabulary);
Json tokenizer_config_from_gguf(const GgufVocabulary& vocabulary);

}  // namespace sft
