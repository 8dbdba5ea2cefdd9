#include <fmt/format.h>

#include <algorithm>

#include "chat/chat_template.h"
#include "core/error.h"
#include "core/numbers.h"
#include "io/saved_config.h"
#include "jinja/errors.h"
#include "model/model.h"
#include "run/check/checks.h"
#include "run/check/known_models.h"
#include "run/text_setup.h"

namespace sft {

namespace {

constexpr const char* kSettings = "tokenizer_config.json";
constexpr const char* kGeneration = "generation_config.json";

const std::vector<Reader> kByTransformers4{Reader::transformers4, Reader::llama_cpp};

// A special token as tokenizer_config.json has it: text, or an object with its content.
std::string token_text(const Json& value) {
  const Json text = value.is_object() ? value.value("content", Json()) : value;
  return text.is_string() ? text.get<std::string>() : "";
}

// special_tokens_map.json wins over tokenizer_config.json, in transformers 4 and 5.
std::string special_token(const ModelFolder& folder, const char* name) {
  const std::string mapped = token_text(folder.special_tokens.get(name));
  return mapped.empty() ? token_text(folder.tokenizer_config.get(name)) : mapped;
}

void check_class(const ModelFolder& folder, Findings& out) {
  const Json given = folder.tokenizer_config.get("tokenizer_class");
  const std::string name = given.is_string() ? given.get<std::string>() : "";
  const Edit plain{kSettings, "tokenizer_class", "PreTrainedTokenizerFast"};
  if (name.empty()) {
    out.push_back(
        {"class-missing",
         "tokenizer_config.json: tokenizer_class",
         "there is no tokenizer_class: transformers 4 takes the class of the model's "
         "family, which may add tokens of its own",
         "set tokenizer_class to PreTrainedTokenizerFast, which is what tokenizer.json says",
         effects({{Effect::wrong, kByTransformers4}}),
         {plain}});
  } else if (name == "TokenizersBackend") {
    out.push_back({"class-of-transformers-5",
                   "tokenizer_config.json: tokenizer_class",
                   "tokenizer_class is TokenizersBackend, which only transformers 5 knows",
                   "set tokenizer_class to PreTrainedTokenizerFast, which both know",
                   effects({{Effect::refuses, kByTransformers4}}),
                   {plain}});
  } else if (!knows_tokenizer_class(name) && folder.tokenizer_config.get("auto_map").is_null()) {
    out.push_back(
        {"class-unknown",
         "tokenizer_config.json: tokenizer_class",
         fmt::format("tokenizer_class is {}, which transformers 4 does not know", name),
         "set tokenizer_class to PreTrainedTokenizerFast, if tokenizer.json is all there is",
         effects({{Effect::refuses, kByTransformers4}}),
         {plain}});
  }
  if (folder.tokenizer_config.get("extra_special_tokens").is_array()) {
    Finding f{"extra-tokens-list",
              "tokenizer_config.json: extra_special_tokens",
              "extra_special_tokens is a list, where transformers 4 wants names with tokens",
              "move the list to additional_special_tokens",
              effects({{Effect::refuses, kByTransformers4}}),
              {{kSettings, "extra_special_tokens", Json()}}};
    if (folder.tokenizer_config.get("additional_special_tokens").is_null()) {
      f.fix.push_back({kSettings, "additional_special_tokens",
                       folder.tokenizer_config.get("extra_special_tokens")});
    }
    out.push_back(std::move(f));
  }
}

void check_tokens(const ModelFolder& folder, Findings& out) {
  const std::string eos = special_token(folder, "eos_token");
  if (eos.empty()) {
    out.push_back({"eos-missing", "tokenizer_config.json: eos_token",
                   "there is no eos_token: nothing says where a text ends",
                   "set eos_token to the token that ends a text, or a turn",
                   effects({{Effect::wrong,
                             {Reader::transformers4, Reader::transformers5, Reader::lm_eval,
                              Reader::vllm, Reader::sglang, Reader::mlx}},
                            {Effect::warns, {Reader::llama_cpp, Reader::ollama}}})});
  } else if (!folder.encoder->id_of(eos)) {
    out.push_back({"eos-unknown", "tokenizer_config.json: eos_token",
                   fmt::format("eos_token is {}, which the vocabulary does not have: transformers "
                               "adds it as a new token, which the model cannot write",
                               eos),
                   "set eos_token to a token of the vocabulary", for_all(Effect::wrong)});
  }
  const auto vocab = json_whole(folder.config.get("vocab_size"), 1, kMostCount);
  const auto table = folder.tensors.find(kEmbeddingWeight);
  const int64_t rows = table != folder.tensors.end() && table->second.shape.size() == 2
                           ? table->second.shape[0]
                           : vocab.value_or(0);
  if (rows > 0 && folder.encoder->vocab_size() > rows) {
    out.push_back(
        {"tokens-beyond", "tokenizer.json: added_tokens",
         fmt::format("the tokenizer has ids up to {}, and the model {} embeddings: such a "
                     "token ends the run",
                     folder.encoder->vocab_size() - 1, rows),
         "resize the embeddings, or take the tokens out", for_all(Effect::wrong)});
  }
}

// The templates inside tokenizer_config.json.
std::optional<std::string> inline_template(const ModelFolder& folder) {
  const Json value = folder.tokenizer_config.get("chat_template");
  if (value.is_string()) {
    return value.get<std::string>();
  }
  if (value.is_array()) {
    for (const Json& one : value) {
      if (one.is_object() && one.value("name", "") == "default") {
        return token_text(one.value("template", Json()));
      }
    }
  }
  return std::nullopt;
}

void check_template(const ModelFolder& folder, Findings& out) {
  const auto inside = inline_template(folder);
  const auto& file = folder.template_file;
  if (!inside && !file) {
    out.push_back({"template-missing", "chat_template.jinja",
                   "there is no chat template: chats, and tasks with --apply_chat_template, are "
                   "refused",
                   "give it one, where it is a model to chat with", for_all(Effect::warns)});
    return;
  }
  if (file && !inside) {
    out.push_back({"template-not-inside",
                   "tokenizer_config.json: chat_template",
                   "the chat template stands in chat_template.jinja alone; Ollama looks for it in "
                   "tokenizer_config.json",
                   "write it in both places",
                   effects({{Effect::warns, {Reader::ollama}}}),
                   {{kSettings, "chat_template", *file}}});
  } else if (file && inside && *file != *inside) {
    out.push_back({"templates-differ",
                   "tokenizer_config.json: chat_template",
                   "chat_template.jinja, which transformers takes, is another than that in "
                   "tokenizer_config.json, which llama.cpp and Ollama take",
                   "write the same in both places",
                   effects({{Effect::wrong, {Reader::llama_cpp, Reader::ollama}}}),
                   {{kSettings, "chat_template", *file}}});
  }
  try {
    ChatTemplate(file ? *file : *inside);
  } catch (const Error& e) {
    if (e.code() == jinja::kSyntax) {
      out.push_back(
          {"template-syntax", "chat_template.jinja: " + e.where(),
           "the chat template has an error: " + e.message(), "repair the template",
           effects({{Effect::wrong,
                     {Reader::transformers4, Reader::transformers5, Reader::vllm, Reader::sglang,
                      Reader::llama_cpp, Reader::ollama, Reader::mlx, Reader::lm_eval}}})});
    }
  }
}

// Every token that ends a turn or a text should end what is generated.
void check_ends(const ModelFolder& folder, Findings& out) {
  if (folder.generation.there && !folder.generation.usable()) {
    out.push_back(
        {"generation-unreadable", kGeneration,
         "generation_config.json cannot be read, and is left out without a word: " +
             folder.generation.problem,
         "repair it, or take it from the model that this one was made of",
         effects({{Effect::warns, {Reader::transformers4, Reader::transformers5, Reader::lm_eval}},
                  {Effect::refuses, {Reader::ollama}}})});
    return;
  }
  const int64_t vocab = folder.encoder->vocab_size();
  const auto table = folder.tensors.find(kEmbeddingWeight);
  const int64_t rows = table != folder.tensors.end() && !table->second.shape.empty()
                           ? std::max(vocab, table->second.shape[0])
                           : vocab;
  const std::vector<int64_t> own =
      eos_ids(folder.generation.value.is_object() ? folder.generation.value : Json::object());
  const std::vector<int64_t> of_config =
      eos_ids(folder.config.value.is_object() ? folder.config.value : Json::object());
  const std::vector<int64_t>& ids = own.empty() ? of_config : own;
  for (const int64_t id : ids) {
    if (id >= rows) {
      out.push_back(
          {"eos-id-beyond", kGeneration + std::string(": eos_token_id"),
           fmt::format("eos_token_id is {}, and the model has {} tokens: nothing ends", id, rows),
           "set it to the id of the token that ends a text",
           effects({{Effect::wrong, {Reader::transformers4, Reader::transformers5}}})});
      return;
    }
  }
  std::optional<TokenRef> turn_end;
  if (folder.template_file || inline_template(folder)) {
    try {
      turn_end = find_turn_end(
          *folder.encoder,
          ChatTemplate(folder.template_file ? *folder.template_file : *inline_template(folder)));
    } catch (const Error&) {  // check_template says it
    }
  }
  const std::string eos = special_token(folder, "eos_token");
  const int64_t eos_id = eos.empty() ? -1 : folder.encoder->id_of(eos).value_or(-1);
  const int64_t wanted = turn_end ? turn_end->id : eos_id;
  if (wanted < 0 || std::ranges::find(ids, wanted) != ids.end()) {
    return;
  }
  std::vector<int64_t> all{wanted};
  all.insert(all.end(), ids.begin(), ids.end());
  Finding f{"turn-never-ends",
            kGeneration + std::string(": eos_token_id"),
            fmt::format("{} ends a {}, and is not among the ids that end what is generated{}",
                        turn_end ? turn_end->text : eos, turn_end ? "turn" : "text",
                        ids.empty() ? ": there are none" : ""),
            fmt::format("add {} to eos_token_id", wanted),
            effects({{Effect::wrong, {Reader::transformers4, Reader::transformers5}}}),
            {{kGeneration, "eos_token_id", all.size() == 1 ? Json(all[0]) : Json(all)}}};
  if (eos_id != wanted) {  // and nobody else knows it by the tokenizer
    for (const Reader reader : {Reader::vllm, Reader::sglang, Reader::llama_cpp, Reader::ollama,
                                Reader::mlx, Reader::lm_eval}) {
      f.effects[reader] = Effect::wrong;
    }
  }
  out.push_back(std::move(f));
}

void check_sampling(const ModelFolder& folder, Findings& out) {
  const Json sample = folder.generation.get("do_sample");
  if (sample != false) {
    return;
  }
  for (const char* key : {"temperature", "top_p", "top_k"}) {
    const Json value = folder.generation.get(key);
    const double plain = std::string_view(key) == "top_k" ? 50 : 1;
    if (value.is_number() && value.get<double>() != plain) {
      out.push_back(
          {"sampling-unused",
           kGeneration + std::string(": ") + key,
           fmt::format("do_sample is false, and {} is {}: transformers ignores it, vLLM and "
                       "SGLang take it as their default",
                       key, to_text(value)),
           fmt::format("take {} away, or set do_sample to true", key),
           effects(
               {{Effect::warns,
                 {Reader::transformers4, Reader::transformers5, Reader::vllm, Reader::sglang}}}),
           {{kGeneration, key, Json()}}});
    }
  }
}

}  // namespace

void check_text(const ModelFolder& folder, Findings& out) {
  if (!folder.tokenizer.there) {
    if (!folder.has("tokenizer.model")) {
      out.push_back({"tokenizer-missing", "tokenizer.json", "there is no tokenizer",
                     "take tokenizer.json from the model that this one was made of",
                     for_all(Effect::refuses)});
    }
    return;
  }
  if (!folder.tokenizer.usable() || !folder.encoder) {
    out.push_back(
        {"tokenizer-unreadable", "tokenizer.json",
         "tokenizer.json cannot be read: " +
             (folder.tokenizer.usable() ? folder.encoder_problem : folder.tokenizer.problem),
         "take it from the model that this one was made of", for_all(Effect::refuses)});
    return;
  }
  if (!folder.tokenizer_config.there) {
    Finding f{"tokenizer-settings-missing", kSettings,
              "there is no tokenizer_config.json: transformers 4 takes the class of the model's "
              "family, which may add tokens of its own, and the chat template may be missed",
              "take it from the model that this one was made of",
              effects({{Effect::wrong, kByTransformers4}, {Effect::warns, {Reader::ollama}}})};
    if (!folder.special_tokens.usable()) {  // which says what ends a text
      f.effects[Reader::transformers5] = Effect::wrong;
      f.effects[Reader::lm_eval] = Effect::wrong;
    }
    out.push_back(std::move(f));
    return;
  }
  if (!folder.tokenizer_config.usable()) {
    out.push_back({"tokenizer-settings-unreadable", kSettings,
                   "tokenizer_config.json cannot be read: " + folder.tokenizer_config.problem,
                   "take it from the model that this one was made of", for_all(Effect::refuses)});
    return;
  }
  check_class(folder, out);
  check_tokens(folder, out);
  check_template(folder, out);
  check_ends(folder, out);
  check_sampling(folder, out);
}

}  // namespace sft
