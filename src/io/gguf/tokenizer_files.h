// The tokenizer files of a Hugging Face folder, made from a GGUF file's metadata. Used by
// GgufSource.
#pragma once

#include <optional>
#include <string>

#include "io/gguf/file.h"

namespace sft {

// tokenizer.json, tokenizer_config.json or chat_template.jinja; nothing for any other name, or when
// the file has no tokenizer.
std::optional<std::string> gguf_tokenizer_file(const GgufFile& file, const std::string& name);

}  // namespace sft
