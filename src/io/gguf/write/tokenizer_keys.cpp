#include "io/gguf/write/tokenizer_keys.h"

#include <fmt/format.h>

#include <algorithm>

namespace sft {

namespace {

struct FamilyToken {
  std::string_view family, kind, text;
};
constexpr FamilyToken kFamilyTokens[] = {
    {"glm4", "eos", "<|endoftext|>"},     {"glm4", "eot", "<|user|>"},
    {"glm4", "unk", "<|endoftext|>"},     {"glm4", "bos", "<|endoftext|>"},
    {"glm4_moe", "bos", "[gMASK]"},       {"glm4_moe", "eot", "<|user|>"},
    {"glm4_moe", "unk", "<|endoftext|>"}, {"glm4_moe", "eom", "<|observation|>"}};

void set_space_prefix(GgufMetadata& m, const Json& tokenizer_config) {
  if (tokenizer_config.contains("add_prefix_space") &&
      tokenizer_config["add_prefix_space"].is_boolean()) {
    m.flag("tokenizer.ggml.add_space_prefix", tokenizer_config["add_prefix_space"].get<bool>());
  }
}

}  // namespace

void add_family_tokens(const GgufFamily& family, WrittenVocabulary& v) {
  for (const FamilyToken& token : kFamilyTokens) {
    const bool there =
        std::ranges::any_of(v.ids, [&](const auto& id) { return id.first == token.kind; });
    const auto found = std::ranges::find(v.tokens, token.text);
    if (family.is(token.family) && !there && found != v.tokens.end()) {
      v.ids.emplace_back(token.kind, found - v.tokens.begin());
    }
  }
  // GLM cuts words as Llama 3 does, but no text of it begins with a token.
  if (family.is("glm4") || family.is("glm4_moe")) {
    v.pre = v.pre == "llama-bpe" ? "glm4" : v.pre == "smaug-bpe" ? "chatglm-bpe" : v.pre;
  }
}

void set_tokenizer_keys(GgufMetadata& m, const GgufFamily& family,
                        const WrittenVocabulary& vocabulary, const Json& tokenizer_config,
                        int64_t vocab) {
  const auto key = [](std::string_view rest) { return fmt::format("tokenizer.ggml.{}", rest); };
  const bool is_llama = family.llama_keys;
  if (is_llama) {
    set_space_prefix(m, tokenizer_config);
  }
  m.text(key("model"), vocabulary.model);
  m.text(key("pre"), vocabulary.pre);  // of Gemma 4 there is none
  m.texts(key("tokens"), vocabulary.tokens);
  m.reals(key("scores"), vocabulary.scores);
  m.numbers(key("token_type"), vocabulary.types);
  m.texts(key("merges"), vocabulary.merges);
  for (const auto& [kind, id] : vocabulary.ids) {
    const std::string_view name = kind == "unk"   ? "unknown"
                                  : kind == "pad" ? "padding"
                                  : kind == "sep" ? "seperator"  // spelt so by all
                                                  : std::string_view(kind);
    m.number(key(fmt::format("{}_token_id", name)), static_cast<uint32_t>(id));
  }
  for (const auto& [kind, value] : vocabulary.adds) {
    if (kind == "bos" || kind == "eos" || kind == "sep") {
      m.flag(key(fmt::format("add_{}_token", kind)), value);
    }
  }
  if (is_llama && vocab == kSmolVocab) {
    m.flag(key("add_bos_token"), false);
  }
}

void set_template_keys(GgufMetadata& m, const std::map<std::string, std::string>& templates) {
  std::vector<std::string> names;
  for (const auto& [name, text] : templates) {
    if (name != "default") {
      names.push_back(name);
      m.text("tokenizer.chat_template." + name, text);
    }
  }
  m.texts("tokenizer.chat_templates", names);
  if (const auto it = templates.find("default"); it != templates.end()) {
    m.text("tokenizer.chat_template", it->second);
  }
}

void set_last_tokenizer_keys(GgufMetadata& m, const GgufFamily& family, const Json& config,
                             const Json& generation, const Json& tokenizer_config) {
  if (family.is("ernie4_5")) {
    set_space_prefix(m, tokenizer_config);
  }
  if (!family.is("hunyuan_v1_dense")) {
    return;
  }
  if (config.contains("eod_token_id") && config["eod_token_id"].is_number_integer()) {
    m.number("tokenizer.ggml.eos_token_id", config["eod_token_id"].get<uint32_t>());
  }
  const Json ends = generation.value("eos_token_id", Json());
  if (ends.is_array() && ends.size() >= 2 && ends[0].is_number_integer()) {
    m.number("tokenizer.ggml.eot_token_id", ends[0].get<uint32_t>());
  }
}

}  // namespace sft
