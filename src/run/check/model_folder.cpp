#include "run/check/model_folder.h"

#include <algorithm>

#include "core/error.h"
#include "core/file.h"
#include "core/lfs_pointer.h"

namespace sft {

namespace {

JsonFile json_file(const fs::path& path) {
  JsonFile file;
  file.there = is_there(path);
  if (!file.there) {
    return file;
  }
  try {
    file.text = read_fetched_text(path);
    file.value = parse_json(file.text, path.filename().string());
    if (!file.value.is_object()) {
      file.problem = std::string("it is ") + file.value.type_name() + ", wanted an object";
      file.value = Json();
    }
  } catch (const Error& e) {
    file.problem = e.message();
  }
  return file;
}

void read_weights(ModelFolder& folder) {
  for (const std::string& name : folder.weight_files) {
    try {
      auto file = std::make_unique<SafetensorsFile>(folder.path / name);
      for (const StoredTensor& tensor : file->tensors()) {
        folder.tensors[tensor.name] = {tensor.shape, tensor.dtype, name};
      }
      folder.files.push_back(std::move(file));
    } catch (const Error& e) {
      folder.damaged[name] = e.message();
    }
  }
}

}  // namespace

bool ModelFolder::has(const std::string& file) const { return is_there(path / file); }

ModelFolder ModelFolder::read(const fs::path& path) {
  ModelFolder folder;
  folder.path = path;
  folder.config = json_file(path / "config.json");
  folder.generation = json_file(path / "generation_config.json");
  folder.tokenizer = json_file(path / "tokenizer.json");
  folder.tokenizer_config = json_file(path / "tokenizer_config.json");
  folder.special_tokens = json_file(path / "special_tokens_map.json");
  folder.index = json_file(path / "model.safetensors.index.json");
  folder.adapter_config = json_file(path / "adapter_config.json");
  if (folder.has("chat_template.jinja")) {
    folder.template_file = read_text(path / "chat_template.jinja");
  }
  for (const auto& entry : fs::directory_iterator(path)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".safetensors")) {
      folder.weight_files.push_back(name);
    }
    folder.pickled =
        folder.pickled || (name.starts_with("pytorch_model") && name.ends_with(".bin"));
  }
  std::ranges::sort(folder.weight_files);
  read_weights(folder);
  if (folder.tokenizer.usable()) {
    try {
      // By itself: tokens that only its settings name would be added to it.
      folder.encoder =
          Tokenizer::from_text(folder.tokenizer.text, Json(), path.filename().string());
    } catch (const Error& e) {
      folder.encoder_problem = e.message();
    }
  }
  return folder;
}

}  // namespace sft
