#include "io/gguf/write/model_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ranges>
#include <string_view>
#include <vector>

#include "io/gguf/write/rope_keys.h"

namespace sft {

namespace {

constexpr int64_t kUsualWindow = 512;  // of Gemma 4

// The keys of one model while they are written. Their order is the converter's.
class ModelKeys {
 public:
  ModelKeys(GgufMetadata& m, const GgufFamily& family, const Json& config, const ModelConfig& model,
            uint32_t file_type)
      : m_(m), family_(family), config_(config), model_(model), file_type_(file_type) {}

  void set() {
    if (family_.is("gemma2")) {
      set_gemma2();
    } else if (family_.is("phi3")) {
      set_phi3();
    } else {
      set_usual();
      set_own();
    }
    m_.number("general.quantization_version", 2);
  }

 private:
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
    std::vector<bool> slides;
    for (const ModelConfig::Layer& layer : model_.layer) {
      slides.push_back(layer.window > 0);
    }
    m_.flags(key("attention.sliding_window_pattern"), slides);
  }
  // What differs from layer to layer.
  template <class Of>
  std::vector<int32_t> by_layer(const Of& of) const {
    std::vector<int32_t> values;
    for (int layer = 0; layer < model_.layers; ++layer) {
      values.push_back(of(layer));
    }
    return values;
  }
  bool same_kv_heads() const {
    return std::ranges::all_of(std::views::iota(0, model_.layers), [&](int layer) {
      return model_.attention_heads(layer).kv_heads == model_.kv_heads;
    });
  }
  // Of Gemma 4, whose last layer sees all.
  int full_head_dim() const { return model_.attention_heads(model_.layers - 1).head_dim; }
  void windows() {
    if (has("sliding_window")) {
      window();
      window_pattern();
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
    eps();
    head_dim();
    file_type();
    m_.real(key("attn_logit_softcapping"), model_.score_cap);
    m_.real(key("final_logit_softcapping"), model_.logit_cap);
    window();
  }

  void set_phi3() {
    const Json rope = rope_of(config_);
    number("context_length", model_.max_positions);
    number("rope.scaling.original_context_length",
           rope.value("original_max_position_embeddings", int64_t{model_.max_positions}));
    number("embedding_length", model_.hidden);
    number("feed_forward_length", model_.intermediate);
    number("block_count", model_.layers);
    number("attention.head_count", model_.heads);
    number("attention.head_count_kv", model_.kv_heads);
    eps();
    number("rope.dimension_count", rotated());
    m_.real(key("rope.freq_base"), static_cast<float>(rope.value("rope_theta", 1e4)));
    file_type();
    number("attention.sliding_window",
           has("sliding_window") ? config_["sliding_window"].get<int64_t>() : 0);
  }

  // As llama.cpp's converter takes them from any config.json.
  void set_usual() {
    number("block_count", model_.layers);
    number("context_length", model_.max_positions);
    number("embedding_length", model_.hidden);
    if (family_.is("gemma4_text") && config_.value("use_double_wide_mlp", false)) {
      m_.numbers(key("feed_forward_length"),
                 by_layer([&](int layer) { return static_cast<int32_t>(model_.wide(layer)); }));
    } else if (!family_.is("qwen3_5_moe_text") ||
               has("intermediate_size")) {  // which has no such MLP
      number("feed_forward_length", model_.intermediate);
    }
    number("attention.head_count", model_.heads);
    if (family_.is("lfm2")) {
      m_.numbers(key("attention.head_count_kv"), by_layer([&](int layer) {
                   return model_.at(layer).mixer == Mixer::attention ? model_.kv_heads : 0;
                 }));
    } else if (family_.is("gemma4_text") && !same_kv_heads()) {
      m_.numbers(key("attention.head_count_kv"),
                 by_layer([&](int layer) { return model_.attention_heads(layer).kv_heads; }));
    } else {
      number("attention.head_count_kv", model_.kv_heads);
    }
    set_rope(m_, family_.architecture, config_,
             family_.is("gemma3_text") || family_.is("gemma4_text"));
    eps();
    if (model_.routing.experts > 0) {
      number("expert_count", model_.routing.experts);
      number("expert_used_count", model_.routing.chosen);
    }
    if (family_.is("glm4_moe")) {
      number("expert_group_count", model_.routing.groups);
      number("expert_group_used_count", model_.routing.chosen_groups);
    }
    // Some have no field for it, and then heads share the width; Granite's is not written.
    const bool always = family_.is("llama") || family_.is("qwen3") || family_.is("gemma3_text") ||
                        family_.is("glm4") || family_.is("ernie4_5") || family_.is("ministral3") ||
                        family_.is("gpt_oss") || family_.has_delta();
    if (family_.is("gemma4_text")) {
      number("attention.key_length", full_head_dim());
      number("attention.value_length", full_head_dim());
    } else if ((has("head_dim") && !family_.is("granite")) || always) {
      head_dim();
    }
    file_type();
    if (family_.llama_keys) {
      number("vocab_size", model_.vocab);
      number("rope.dimension_count", model_.head_dim);
    }
  }

  // What classes of the converter add.
  void set_own() {
    if (family_.is("gemma4_text")) {
      set_gemma4();
    } else if (family_.is("granite")) {
      real("attention.scale", "attention_multiplier");
      real("embedding_scale", "embedding_multiplier");
      real("residual_scale", "residual_multiplier");
      real("logit_scale", "logits_scaling");
    } else if (family_.is("gemma3_text")) {
      real("final_logit_softcapping", "final_logit_softcapping");
      window();
    } else if (family_.is("olmo3")) {
      windows();
    } else if (family_.is("exaone4")) {
      number("vocab_size", model_.vocab);
      windows();
    } else if (family_.is("hunyuan_v1_dense")) {
      set_hunyuan();
    } else if (family_.is("cohere2")) {
      m_.real(key("logit_scale"), model_.logit_scale);
      number("attention.sliding_window", largest_window());
      number("vocab_size", model_.vocab);
      number("rope.dimension_count", model_.head_dim);
      m_.text(key("rope.scaling.type"), "none");
    } else if (family_.is("ministral3")) {
      const Json rope = rope_of(config_);
      m_.real(key("rope.scaling.yarn_log_multiplier"), rope.value("mscale_all_dim", 1.0F));
      m_.real(key("attention.temperature_scale"), model_.ropes[0].query_beta);
    } else if (family_.is("qwen3_moe")) {
      number("expert_feed_forward_length", model_.expert_intermediate);
    } else if (family_.is("gpt_oss")) {
      number("attention.sliding_window", largest_window());
      number("expert_feed_forward_length", model_.expert_intermediate);
    } else if (family_.is("glm4")) {
      number("rope.dimension_count", rotated());
    } else if (family_.is("glm4_moe")) {
      set_glm4_moe();
    } else if (family_.has_delta()) {
      set_delta();
    } else if (family_.is("lfm2")) {
      number("vocab_size", model_.vocab);
      number("shortconv.l_cache", model_.conv_taps);
    }
  }

  void set_gemma4() {
    m_.real(key("final_logit_softcapping"), model_.logit_cap);
    number("attention.sliding_window",
           has("sliding_window") ? config_["sliding_window"].get<int64_t>() : kUsualWindow);
    number("attention.shared_kv_layers", std::ranges::count_if(model_.layer, [](const auto& layer) {
             return layer.shares >= 0;
           }));
    number("embedding_length_per_layer_input", model_.layer_word);
    window_pattern();
    number("attention.key_length_swa", model_.head_dim);
    number("attention.value_length_swa", model_.head_dim);
    if (model_.routing.experts > 0) {
      number("expert_feed_forward_length", model_.expert_intermediate);
    }
    number("rope.dimension_count", full_head_dim());
    number("rope.dimension_count_swa", model_.head_dim);
  }

  // A rope with an alpha is a plain one with a larger base.
  void set_hunyuan() {
    const Json rope = rope_of(config_);
    const double alpha = rope.value("alpha", 0.0);
    if (rope.value("rope_type", "") != "dynamic" || alpha == 0.0) {
      return;
    }
    constexpr int64_t kContext = 256 * 1024;  // whatever config.json says
    const double power = model_.head_dim / (model_.head_dim - 2.0);
    m_.real(key("rope.freq_base"),
            static_cast<float>(rope.value("rope_theta", 1e4) * std::pow(alpha, power)));
    m_.text(key("rope.scaling.type"), "none");
    m_.real(key("rope.scaling.factor"), 1.0F);
    number("rope.scaling.original_context_length", kContext);
    number("context_length", kContext);
  }

  void set_glm4_moe() {
    constexpr uint32_t kSigmoid = 2;
    number("rope.dimension_count", rotated());
    number("expert_feed_forward_length", model_.expert_intermediate);
    number("expert_shared_count", model_.shared_intermediate / model_.expert_intermediate);
    number("leading_dense_block_count",
           std::ranges::count(model_.layer, false, &ModelConfig::Layer::experts));
    m_.number(key("expert_gating_func"), kSigmoid);
    m_.real(key("expert_weights_scale"), model_.routing.scale);
    m_.flag(key("expert_weights_norm"), model_.routing.normalise);
  }

  void set_delta() {
    const DeltaHeads& delta = model_.delta;
    if (family_.has_experts()) {
      number("expert_feed_forward_length", model_.expert_intermediate);
      number("expert_shared_feed_forward_length", model_.shared_intermediate);
    }
    number("ssm.conv_kernel", model_.conv_taps);
    number("ssm.state_size", delta.key_dim);
    number("ssm.group_count", delta.key_heads);
    number("ssm.time_step_rank", delta.value_heads);
    number("ssm.inner_size", int64_t{delta.value_heads} * delta.value_dim);
    std::vector<bool> recurrent;
    for (const ModelConfig::Layer& layer : model_.layer) {
      recurrent.push_back(layer.mixer == Mixer::gated_delta);
    }
    m_.flags(key("attention.recurrent_layers"), recurrent);
    number("full_attention_interval",
           has("full_attention_interval") ? config_["full_attention_interval"].get<int>() : 4);
    number("rope.dimension_count", rotated());
    if (!family_.is("qwen3_next") && !rope_of(config_).contains("mrope_section")) {
      set_sections(m_, family_.architecture, {11, 11, 10, 0});
    }
  }

  // Of the norms of all families but StarCoder2 and Cohere2, whose norms are layer norms.
  void eps() {
    if (model_.form.layer_norm) {
      if (has("rms_norm_eps")) {  // which some files have beside their own
        m_.real(key("attention.layer_norm_rms_epsilon"), config_["rms_norm_eps"].get<float>());
      }
      m_.real(key("attention.layer_norm_epsilon"), model_.norm.eps);
    } else {
      m_.real(key("attention.layer_norm_rms_epsilon"), model_.norm.eps);
    }
  }
  int64_t rotated() const { return static_cast<int64_t>(model_.ropes[0].inv_freq.size()) * 2; }
  int64_t largest_window() const {
    return std::ranges::max_element(model_.layer, {}, &ModelConfig::Layer::window)->window;
  }

  GgufMetadata& m_;
  const GgufFamily& family_;
  const Json& config_;
  const ModelConfig& model_;
  const uint32_t file_type_;
};

}  // namespace

void set_first_keys(GgufMetadata& m, const GgufFamily& family, const Json& config) {
  if (family.is("phi3") && rope_of(config).contains("long_factor")) {
    m.real(fmt::format("{}.rope.scaling.attn_factor", family.architecture),
           static_cast<float>(longrope_attention(config)));
  }
}

void set_model_keys(GgufMetadata& m, const GgufFamily& family, const Json& config,
                    const ModelConfig& model, uint32_t file_type) {
  ModelKeys(m, family, config, model, file_type).set();
}

}  // namespace sft
