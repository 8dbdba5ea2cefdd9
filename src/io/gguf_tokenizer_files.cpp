#include "io/gguf_tokenizer_files.h"

namespace sft {

std::optional<std::string> gguf_tokenizer_file(const GgufFile& file, const std::string& name) {
  if (name == "chat_template.jinja") {
    return file.string("tokenizer.chat_template");
  }
  return std::nullopt;
}

}  // namespace sft
