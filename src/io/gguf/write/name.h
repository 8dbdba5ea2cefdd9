// What a model's name says about it: "org/Qwen2.5-0.5B-Instruct" is of the series Qwen2.5, of 0.5B
// parameters, tuned to instruct. By the rules of llama.cpp's converter. Used by the general keys.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sft {

// "" is none.
struct GgufName {
  std::string full, organization, basename, finetune, version, size_label;
};

// `parameters` of the model: 0 unknown, negative of an adapter.
GgufName read_gguf_name(const std::string& id, int64_t parameters);

// "qwen2.5-0.5B-instruct" -> "Qwen2.5 0.5B Instruct".
std::string gguf_title(std::string_view id);

// "135M": at least two digits.
std::string gguf_size_label(int64_t parameters);

// The name of the file, without its ending.
std::string gguf_file_name(const GgufName& name, std::string_view encoding, bool adapter);

}  // namespace sft
