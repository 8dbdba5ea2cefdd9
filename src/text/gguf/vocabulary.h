// The vocabulary of a model's folder as a GGUF file has it: the way back from tokenizer.h. Used by
// the export.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/json_fwd.h"

namespace sft {

// The tokenizer.ggml.* values of a file that is written, in the order in which they stand there.
struct WrittenVocabulary {
  // "gpt2" (byte-level BPE), "llama" (SentencePiece) or "gemma4" (the same with its merges)
  std::string model;
  std::string pre;
  std::vector<std::string> tokens;
  std::vector<int32_t> types;       // 1 normal 2 unknown 3 control 4 user-defined 5 unused 6 byte
  std::vector<float> scores;        // of all but "gpt2"
  std::vector<std::string> merges;  // "a b", of all but "llama"
  std::vector<std::pair<std::string, int64_t>> ids;  // "bos" -> 1
  std::vector<std::pair<std::string, bool>> adds;    // "bos" -> whether a text begins with it
};

// Reads tokenizer.json, tokenizer_config.json and tokenizer.model as `file_text` gives them.
// `vocab` is the number of rows of the embedding; ids without a token become "[PAD7]". `config` is
// config.json. `pre` names the way words are cut where the file's own is not known ("": none).
// M281 for a tokenizer that GGUF has no kind for, M282 for a way of cutting words that llama.cpp
// has no name for.
WrittenVocabulary vocabulary_for_gguf(
    const std::function<std::optional<std::string>(const std::string&)>& file_text,
    const Json& config, int64_t vocab, const std::string& pre);

}  // namespace sft
