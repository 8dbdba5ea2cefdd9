#include "io/gguf/write/model_keys.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>
#include <optional>
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

std::optional<double> local_theta(const Json& config) {
  if (config.contains("rope_parameters") && config["rope_parameters"].is_object() &&
      config["rope_parameters"].contains("sliding_attention")) {
    return config["rope_parameters"]["sliding_attention"].value("rope_theta", 1e4);
  }
  if (config.contains("rope_local_base_freq") && config["rope_local_base_freq"].is_number()) {
    return config["rope_local_base_freq"].get<double>();
  }
  return std::nullopt;
}

void set_rope(GgufMetadata& m, const std::string& arch, const Json& config, bool gemma3) {
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
  m.real(key("freq_base"), static_cast<float>(rope.value("rope_theta", gemma3 ? 1e6 : 1e4)));
  if (const auto local = gemma3 ? local_theta(config).value_or(1e4) : local_theta(config)) {
    m.real(key("freq_base_swa"), static_cast<float>(*local));
  }
}

}  // namespace

namespace {

// The keys of one model while they are written. Their order is the converter's.
class ModelKeys {
 public:
  ModelKeys(GgufMetadata& m, const GgufFamily& family, const Json& config, const ModelConfig& model,
            uint32_t file_type)
      : m_(m), family_(family), config_(config), model_(model), file_type_(file_type) {}

  void set() {
    check();
    if (family_.is("gemma2")) {
      set_gemma2();
    } else {
      set_usual();
    }
    m_.number("general.quantization_version", 2);
  }

 private:
  // What a file has no key for must be what the runtime takes for it.
  void check() const {
    const auto refuse = [](const std::string& what) {
      throw Error("M284", what + " has no key in a GGUF file")
          .hint("export to safetensors instead: the folder is one");
    };
    if (family_.is("gemma2")) {
      const bool largest = model_.layers == 46;
      const int64_t usual = largest ? model_.hidden / model_.heads : model_.head_dim;
      const double scale = 1.0 / std::sqrt(static_cast<double>(usual));
      if (std::abs(static_cast<double>(model_.attention_scale) / scale - 1.0) > 1e-6) {
        refuse(fmt::format("a query_pre_attn_scalar that is not {}", usual));
      }
    }
    for (int i = 0; i < model_.layers; ++i) {
      const ModelConfig::Layer& layer = model_.layer[static_cast<size_t>(i)];
      if (family_.is("gemma2") && (layer.window > 0) != (i % 2 == 0)) {
        refuse("a window that is not in every other layer");
      }
      if (family_.is("smollm3") && (layer.window > 0 || (layer.rope < 0) != ((i + 1) % 4 == 0))) {
        refuse("a layer without rope that is not each 4th, or with a window,");
      }
    }
  }

  std::string key(const char* rest) const {
    return fmt::format("{}.{}", family_.architecture, rest);
  }
  void number(const char* rest, int64_t value) {
    m_.number(key(rest), static_cast<uint32_t>(value));
  }
  bool has(const char* field) const {
    return config_.contains(field) && config_[field].is_number();
  }
  // A field of config.json under another name, where it is there.
  void real(const char* rest, const char* field) {
    if (has(field)) {
      m_.real(key(rest), config_[field].get<float>());
    }
  }
  void window() {
    if (has("sliding_window")) {
      number("attention.sliding_window", config_["sliding_window"].get<int64_t>());
    }
  }
  void window_pattern() {
    if (has("sliding_window")) {
      std::vector<bool> slides;
      for (const ModelConfig::Layer& layer : model_.layer) {
        slides.push_back(layer.window > 0);
      }
      m_.flags(key("attention.sliding_window_pattern"), slides);
    }
  }
  void head_dim() {
    number("attention.key_length", model_.head_dim);
    number("attention.value_length", model_.head_dim);
  }
  void file_type() { m_.number("general.file_type", file_type_); }

  void set_gemma2() {
    number("context_length", model_.max_positions);
    number("embedding_length", model_.hidden);
    number("block_count", model_.layers);
    number("feed_forward_length", model_.intermediate);
    number("attention.head_count", model_.heads);
    number("attention.head_count_kv", model_.kv_heads);
    m_.real(key("attention.layer_norm_rms_epsilon"), config_.value("rms_norm_eps", 1e-6F));
    head_dim();
    file_type();
    m_.real(key("attn_logit_softcapping"), model_.score_cap);
    m_.real(key("final_logit_softcapping"), model_.logit_cap);
    window();
  }

  void set_usual() {
    number("block_count", model_.layers);
    number("context_length", model_.max_positions);
    number("embedding_length", model_.hidden);
    number("feed_forward_length", model_.intermediate);
    number("attention.head_count", model_.heads);
    number("attention.head_count_kv", model_.kv_heads);
    set_rope(m_, family_.architecture, config_, family_.is("gemma3_text"));
    if (family_.is("starcoder2")) {
      m_.real(key("attention.layer_norm_epsilon"), config_.value("norm_epsilon", 1e-5F));
    } else {
      m_.real(key("attention.layer_norm_rms_epsilon"), config_.value("rms_norm_eps", 1e-6F));
    }
    // Some have no field for it, and then heads share the width; Granite's is not written.
    const bool of_llama = family_.is("llama") || family_.is("qwen3") || family_.is("gemma3_text");
    if ((has("head_dim") && !family_.is("granite")) || of_llama) {
      head_dim();
    }
    file_type();
    if (family_.llama_keys) {
      number("vocab_size", model_.vocab);
      number("rope.dimension_count", model_.head_dim);
    }
    if (family_.is("granite")) {
      real("attention.scale", "attention_multiplier");
      real("embedding_scale", "embedding_multiplier");
      real("residual_scale", "residual_multiplier");
      real("logit_scale", "logits_scaling");
    } else if (family_.is("gemma3_text")) {
      real("final_logit_softcapping", "final_logit_softcapping");
      window();
    } else if (family_.is("olmo3")) {
      window();
      window_pattern();
    } else if (family_.is("exaone4")) {
      number("vocab_size", model_.vocab);
      window();
      window_pattern();
    }
  }

  GgufMetadata& m_;
  const GgufFamily& family_;
  const Json& config_;
  const ModelConfig& model_;
  const uint32_t file_type_;
};

}  // namespace

void set_model_keys(GgufMetadata& m, const GgufFamily& family, const Json& config,
                    const ModelConfig& model, uint32_t file_type) {
  ModelKeys(m, family, config, model, file_type).set();
}

void set_tokenizer_keys(GgufMetadata& m, const GgufFamily& family,
                        const WrittenVocabulary& vocabulary, const Json& tokenizer_config,
                        int64_t vocab) {
  const auto key = [](std::string_view rest) { return fmt::format("tokenizer.ggml.{}", rest); };
  const bool is_llama = family.llama_keys;
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
