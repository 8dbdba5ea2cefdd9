#include "io/gguf/write/model_keys.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>
#include <string_view>

#include "core/error.h"

namespace sft {

namespace {

// The rope's parameters of the layers that see all, whichever generation config.json is of.
Json rope_of(const Json& config) {
  Json rope = Json::object();
  if (config.contains("rope_theta") && config["rope_theta"].is_number()) {
    rope["rope_theta"] = config["rope_theta"];
  }
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (config.contains(key) && config[key].is_object()) {
      const Json& given = config[key];
      rope.update(given.contains("full_attention") ? given["full_attention"] : given);
    }
  }
  if (!rope.contains("rope_type") && rope.contains("type")) {
    rope["rope_type"] = rope["type"];
  }
  return rope;
}

double local_theta(const Json& config) {
  if (config.contains("rope_parameters") && config["rope_parameters"].is_object() &&
      config["rope_parameters"].contains("sliding_attention")) {
    return config["rope_parameters"]["sliding_attention"].value("rope_theta", 1e4);
  }
  return config.value("rope_local_base_freq", 1e4);
}

void set_rope(GgufMetadata& m, const std::string& arch, const Json& config, bool gemma) {
  const Json rope = rope_of(config);
  const std::string type = rope.value("rope_type", "default");
  const auto key = [&](const char* rest) { return fmt::format("{}.rope.{}", arch, rest); };
  if (type == "linear" || type == "yarn") {
    m.text(key("scaling.type"), type);
    m.real(key("scaling.factor"), rope.value("factor", 1.0F));
  }
  if (type == "yarn") {
    m.number(key("scaling.original_context_length"),
             rope.value("original_max_position_embeddings",
                        config.value("max_position_embeddings", uint32_t{0})));
    for (const auto& [name, field] : {std::pair{"scaling.yarn_attn_factor", "attention_factor"},
                                      {"scaling.yarn_beta_fast", "beta_fast"},
                                      {"scaling.yarn_beta_slow", "beta_slow"}}) {
      if (rope.contains(field) && rope[field].is_number()) {
        m.real(key(name), rope[field].get<float>());
      }
    }
  } else if (type != "linear" && type != "default" && type != "llama3") {
    throw Error("M284", fmt::format("the rope scaling \"{}\" has no key in a GGUF file", type))
        .hint("export to safetensors instead: the folder is one");
  }
  m.real(key("freq_base"), static_cast<float>(rope.value("rope_theta", gemma ? 1e6 : 1e4)));
  if (gemma) {
    m.real(key("freq_base_swa"), static_cast<float>(local_theta(config)));
  }
}

}  // namespace

void set_model_keys(GgufMetadata& m, const GgufFamily& family, const Json& config,
                    const ModelConfig& model, uint32_t file_type) {
  const std::string arch = family.architecture;
  const auto number = [&](const char* rest, int64_t value) {
    m.number(fmt::format("{}.{}", arch, rest), static_cast<uint32_t>(value));
  };
  number("block_count", model.layers);
  number("context_length", model.max_positions);
  number("embedding_length", model.hidden);
  number("feed_forward_length", model.intermediate);
  number("attention.head_count", model.heads);
  number("attention.head_count_kv", model.kv_heads);
  set_rope(m, arch, config, family.is_gemma);
  m.real(arch + ".attention.layer_norm_rms_epsilon", config.value("rms_norm_eps", 1e-6F));
  // Qwen2 has no field for it, and then its heads share the width.
  const bool own_head_dim = config.contains("head_dim") && config["head_dim"].is_number();
  if (own_head_dim || std::string_view(family.architecture) != "qwen2") {
    number("attention.key_length", model.head_dim);
    number("attention.value_length", model.head_dim);
  }
  m.number("general.file_type", file_type);
  if (std::string_view(family.architecture) == "llama") {
    number("vocab_size", model.vocab);
    number("rope.dimension_count", model.head_dim);
  }
  if (family.is_gemma) {
    if (config.contains("final_logit_softcapping") &&
        config["final_logit_softcapping"].is_number()) {
      m.real(arch + ".final_logit_softcapping", config["final_logit_softcapping"].get<float>());
    }
    if (config.contains("sliding_window") && config["sliding_window"].is_number()) {
      number("attention.sliding_window", config["sliding_window"].get<int64_t>());
    }
  }
  m.number("general.quantization_version", 2);
}

void set_tokenizer_keys(GgufMetadata& m, const GgufFamily& family,
                        const WrittenVocabulary& vocabulary, const Json& tokenizer_config,
                        int64_t vocab) {
  const auto key = [](std::string_view rest) { return fmt::format("tokenizer.ggml.{}", rest); };
  const bool is_llama = std::string_view(family.architecture) == "llama";
  if (is_llama && tokenizer_config.contains("add_prefix_space") &&
      tokenizer_config["add_prefix_space"].is_boolean()) {
    m.flag(key("add_space_prefix"), tokenizer_config["add_prefix_space"].get<bool>());
  }
  m.text(key("model"), vocabulary.model);
  m.text(key("pre"), vocabulary.pre);
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

std::vector<float> llama3_divisors(const Json& config, int head_dim) {
  const Json rope = rope_of(config);
  if (rope.value("rope_type", "") != "llama3") {
    return {};
  }
  const double factor = rope.value("factor", 8.0), low = rope.value("low_freq_factor", 1.0);
  const double high = rope.value("high_freq_factor", 4.0);
  const double original = rope.value("original_max_position_embeddings", 8192.0);
  const auto theta = static_cast<float>(rope.value("rope_theta", 1e4));
  std::vector<float> divisors;
  for (int i = 0; i < head_dim; i += 2) {
    // In the converter's own precision: frequencies are float32 there.
    const float power = static_cast<float>(i) / static_cast<float>(head_dim);
    const float frequency = 1.0F / std::pow(theta, power);
    const float wavelength = static_cast<float>(2 * std::numbers::pi) / frequency;
    if (wavelength < static_cast<float>(original / high)) {
      divisors.push_back(1);
    } else if (wavelength > static_cast<float>(original / low)) {
      divisors.push_back(static_cast<float>(factor));
    } else {
      const float smooth = (static_cast<float>(original) / wavelength - static_cast<float>(low)) /
                           static_cast<float>(high - low);
      divisors.push_back(1.0F / ((1.0F - smooth) / static_cast<float>(factor) + smooth));
    }
  }
  return divisors;
}

}  // namespace sft
