#include "io/gguf/tokenizer_files.h"

#include "core/error.h"
#include "core/json.h"
#include "text/gguf/tokenizer.h"

namespace sft {

namespace {

template <class To, class From>
std::vector<To> copy_list(const std::vector<From>* list) {
  return list == nullptr ? std::vector<To>() : std::vector<To>(list->begin(), list->end());
}

GgufVocabulary read_vocabulary(const GgufFile& file) {
  const auto integer = [&](const char* key) { return file.integer(key); };
  GgufVocabulary v;
  v.model = file.string("tokenizer.ggml.model").value_or("");
  v.pre = file.string("tokenizer.ggml.pre").value_or("");
  v.tokens = copy_list<std::string>(file.strings("tokenizer.ggml.tokens"));
  v.token_types = copy_list<int32_t>(file.integers("tokenizer.ggml.token_type"));
  v.scores = copy_list<float>(file.numbers("tokenizer.ggml.scores"));
  v.merges = copy_list<std::string>(file.strings("tokenizer.ggml.merges"));
  v.bos_id = integer("tokenizer.ggml.bos_token_id");
  v.eos_id = integer("tokenizer.ggml.eos_token_id");
  v.pad_id = integer("tokenizer.ggml.padding_token_id");
  v.unk_id = integer("tokenizer.ggml.unknown_token_id");
  v.add_bos = file.boolean("tokenizer.ggml.add_bos_token");
  v.add_eos = file.boolean("tokenizer.ggml.add_eos_token");
  v.add_space_prefix = file.boolean("tokenizer.ggml.add_space_prefix");
  v.chat_template = file.string("tokenizer.chat_template").value_or("");
  const std::string architecture = file.string("general.architecture").value_or("");
  v.context_length = file.integer(architecture + ".context_length");
  return v;
}

}  // namespace

std::optional<std::string> gguf_tokenizer_file(const GgufFile& file, const std::string& name) {
  if (name == "chat_template.jinja") {
    return file.string("tokenizer.chat_template");
  }
  const bool vocabulary = name == "tokenizer.json";
  if ((!vocabulary && name != "tokenizer_config.json") ||
      file.value("tokenizer.ggml.model") == nullptr) {
    return std::nullopt;
  }
  try {
    const GgufVocabulary v = read_vocabulary(file);
    return vocabulary ? to_text(tokenizer_json_from_gguf(v))
                      : to_text(tokenizer_config_from_gguf(v), 2) + "\n";
  } catch (Error& e) {
    e.at(file.path().string());
    throw;
  } catch (const Json::exception&) {
    // dump() refuses a text that is not UTF-8.
    throw Error("M223", "the tokenizer's texts are not UTF-8")
        .at(file.path().string())
        .hint("the file is damaged; fetch or convert it again");
  }
}

}  // namespace sft
