// A model's folder as it lies there, read without believing any of it: what cannot be read is kept
// as a reason, not thrown. Used by `sft check`.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chat/chat_template.h"
#include "core/json.h"
#include "io/safetensors.h"
#include "text/tokenizer.h"

namespace sft {

struct JsonFile {
  bool there = false;
  std::string text;
  Json value;           // an object; null where it is none
  std::string problem;  // why it cannot be read; "" where it can
  bool usable() const { return there && problem.empty(); }
  // A member, null where there is none.
  Json get(const char* key) const { return value.is_object() ? value.value(key, Json()) : Json(); }
};

struct FolderTensor {
  std::vector<int64_t> shape;
  std::string dtype, file;
};

struct ModelFolder {
  std::filesystem::path path;
  JsonFile config, generation, tokenizer, tokenizer_config, special_tokens, index, adapter_config;
  std::optional<std::string> template_file;             // chat_template.jinja
  std::vector<std::string> weight_files;                // *.safetensors that are there
  bool pickled = false;                                 // pytorch_model*.bin
  std::map<std::string, std::string> damaged;           // a weight file -> why it cannot be read
  std::vector<std::unique_ptr<SafetensorsFile>> files;  // those that can
  std::map<std::string, FolderTensor> tensors;          // of all files that can be read
  std::optional<Tokenizer> encoder;
  std::string encoder_problem;

  bool has(const std::string& file) const;
  bool is_adapter() const { return adapter_config.there; }

  static ModelFolder read(const std::filesystem::path& path);
};

}  // namespace sft
