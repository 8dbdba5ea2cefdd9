#include <fmt/format.h>

#include "core/error.h"
#include "io/gguf/file.h"
#include "run/check/checks.h"

namespace sft {

namespace {

const std::vector<Reader> kByGgml{Reader::llama_cpp, Reader::ollama};

}  // namespace

void check_gguf(const std::filesystem::path& path, Findings& out) {
  const std::string name = path.filename().string();
  std::optional<GgufFile> opened;
  try {
    opened.emplace(path);
  } catch (const Error& e) {
    out.push_back({"gguf-damaged", name, "the file cannot be read: " + e.message(),
                   "fetch or export it again", effects({{Effect::refuses, kByGgml}})});
    return;
  }
  const GgufFile& file = *opened;
  const auto architecture = file.string("general.architecture");
  if (!architecture || architecture->empty()) {
    out.push_back({"gguf-architecture", name + ": general.architecture",
                   "nothing says of which family the model is", "export it again",
                   effects({{Effect::refuses, kByGgml}})});
  }
  if (file.find("token_embd.weight") == nullptr) {
    out.push_back({"gguf-embeddings", name + ": token_embd.weight", "there are no embeddings",
                   "export it again", effects({{Effect::refuses, kByGgml}})});
  }
  const auto model = file.string("tokenizer.ggml.model");
  if (!model) {
    out.push_back({"gguf-tokenizer", name + ": tokenizer.ggml.model", "there is no tokenizer",
                   "export it again, from a folder with tokenizer.json",
                   effects({{Effect::refuses, kByGgml}})});
  } else if (*model == "gpt2" && !file.string("tokenizer.ggml.pre")) {
    out.push_back({"gguf-pre", name + ": tokenizer.ggml.pre",
                   "nothing says how the tokenizer cuts words: llama.cpp cuts them in another way, "
                   "and says that the quality is degraded",
                   "export it again; sft export --pre NAME where it cannot be told",
                   effects({{Effect::wrong, kByGgml}})});
  }
  if (!file.integer("tokenizer.ggml.eos_token_id")) {
    out.push_back({"gguf-eos", name + ": tokenizer.ggml.eos_token_id",
                   "nothing says which token ends a text", "export it again",
                   effects({{Effect::wrong, kByGgml}})});
  }
  if (!file.string("tokenizer.chat_template")) {
    out.push_back({"gguf-template", name + ": tokenizer.chat_template",
                   "there is no chat template: another one is taken in chats",
                   "export it again, from a folder with a template",
                   effects({{Effect::warns, kByGgml}})});
  }
}

}  // namespace sft
