#include "io/gguf/family.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "io/gguf/errors.h"
#include "model/model.h"

namespace sft {

namespace {

// Norms on both sides of attention and MLP, and norms behind them.
constexpr auto kBothSides =
    std::to_array<GgufTensorName>({{"ffn_norm", "pre_feedforward_layernorm"},
                                   {"post_attention_norm", "post_attention_layernorm"},
                                   {"post_ffw_norm", "post_feedforward_layernorm"}});
constexpr auto kWordsOfLayers =
    std::to_array<GgufTensorName>({{"inp_gate", "per_layer_input_gate"},
                                   {"proj", "per_layer_projection"},
                                   {"post_norm", "post_per_layer_input_norm"},
                                   {"layer_output_scale.weight", "layer_scalar"}});
constexpr GgufTensorName kBehind[] = {{"post_attention_norm", "post_attention_layernorm"},
                                      {"post_ffw_norm", "post_feedforward_layernorm"}};
constexpr GgufTensorName kPlainMlp[] = {{"ffn_up", "mlp.c_fc"}, {"ffn_down", "mlp.c_proj"}};
constexpr GgufTensorName kPhi[] = {{"attn_qkv", "self_attn.qkv_proj"},
                                   {"ffn_up", "mlp.gate_up_proj"}};
constexpr GgufTensorName kGlm4[] = {{"post_attention_norm", "post_self_attn_layernorm"},
                                    {"post_ffw_norm", "post_mlp_layernorm"},
                                    {"ffn_up", "mlp.gate_up_proj"}};
constexpr GgufTensorName kHunyuan[] = {{"attn_q_norm", "self_attn.query_layernorm"},
                                       {"attn_k_norm", "self_attn.key_layernorm"}};
constexpr GgufTensorName kRouter[] = {{"ffn_gate_inp", "mlp.gate"}};
constexpr GgufTensorName kMixtral[] = {{"ffn_gate_inp", "block_sparse_moe.gate"}};
constexpr GgufTensorName kGptOss[] = {{"post_attention_norm", "post_attention_layernorm"},
                                      {"ffn_gate_inp", "mlp.router"},
                                      {"attn_sinks.weight", "self_attn.sinks"}};
constexpr GgufTensorName kGlm4Moe[] = {{"post_attention_norm", "post_attention_layernorm"},
                                       {"ffn_gate_inp", "mlp.gate"},
                                       {"exp_probs_b.bias", "mlp.gate.e_score_correction_bias"},
                                       {"ffn_gate_shexp", "mlp.shared_experts.gate_proj"},
                                       {"ffn_up_shexp", "mlp.shared_experts.up_proj"},
                                       {"ffn_down_shexp", "mlp.shared_experts.down_proj"}};
// The gated delta rule's, whose projections differ, and experts beside one that all tokens go to.
constexpr auto kDelta =
    std::to_array<GgufTensorName>({{"post_attention_norm", "post_attention_layernorm"},
                                   {"ssm_conv1d", "linear_attn.conv1d"},
                                   {"ssm_norm", "linear_attn.norm"},
                                   {"ssm_out", "linear_attn.out_proj"},
                                   {"ssm_a", "linear_attn.A_log"},
                                   {"ssm_dt.bias", "linear_attn.dt_bias"}});
constexpr auto kFourProjections =
    std::to_array<GgufTensorName>({{"attn_qkv", "linear_attn.in_proj_qkv"},
                                   {"attn_gate", "linear_attn.in_proj_z"},
                                   {"ssm_beta", "linear_attn.in_proj_b"},
                                   {"ssm_alpha", "linear_attn.in_proj_a"}});
constexpr auto kTwoProjections =
    std::to_array<GgufTensorName>({{"attn_qkv", "linear_attn.in_proj_qkvz"},
                                   {"attn_gate", "linear_attn.in_proj_qkvz"},
                                   {"ssm_ba", "linear_attn.in_proj_ba"}});
constexpr auto kSharedExpert =
    std::to_array<GgufTensorName>({{"ffn_gate_inp", "mlp.gate"},
                                   {"ffn_gate_inp_shexp", "mlp.shared_expert_gate"},
                                   {"ffn_gate_shexp", "mlp.shared_expert.gate_proj"},
                                   {"ffn_up_shexp", "mlp.shared_expert.up_proj"},
                                   {"ffn_down_shexp", "mlp.shared_expert.down_proj"}});

template <size_t A, size_t B>
constexpr auto operator+(const std::array<GgufTensorName, A>& a,
                         const std::array<GgufTensorName, B>& b) {
  std::array<GgufTensorName, A + B> both{};
  std::ranges::copy(b, std::ranges::copy(a, both.begin()).out);
  return both;
}
constexpr auto kGemma4Experts =
    std::to_array<GgufTensorName>({{"ffn_gate_inp", "router.proj"},
                                   {"ffn_gate_inp.scale", "router.scale"},
                                   {"ffn_down_exps.scale", "router.per_expert_scale"},
                                   {"pre_ffw_norm_2", "pre_feedforward_layernorm_2"},
                                   {"post_ffw_norm_1", "post_feedforward_layernorm_1"},
                                   {"post_ffw_norm_2", "post_feedforward_layernorm_2"}});
constexpr auto kQwen35 = kDelta + kFourProjections;
constexpr auto kQwen35Moe = kQwen35 + kSharedExpert;
constexpr auto kGemma4 = kBothSides + kWordsOfLayers + kGemma4Experts;
constexpr auto kQwen3Next = kDelta + kTwoProjections + kSharedExpert;

constexpr GgufTensorName kLfm2[] = {{"attn_norm", "operator_norm"},
                                    {"ffn_norm", "ffn_norm"},
                                    {"attn_q_norm", "self_attn.q_layernorm"},
                                    {"attn_k_norm", "self_attn.k_layernorm"},
                                    {"attn_output", "self_attn.out_proj"},
                                    {"ffn_gate", "feed_forward.w1"},
                                    {"ffn_up", "feed_forward.w3"},
                                    {"ffn_down", "feed_forward.w2"},
                                    {"shortconv.conv", "conv.conv"},
                                    {"shortconv.in_proj", "conv.in_proj"},
                                    {"shortconv.out_proj", "conv.out_proj"}};

constexpr GgufExperts kExperts{"mlp.experts.", "gate_proj", "up_proj", "down_proj"};
constexpr GgufExperts kMixtralExperts{"block_sparse_moe.experts.", "w1", "w3", "w2"};
constexpr GgufExperts kExpertsAsOne{"mlp.experts.", "gate_up_proj", "gate_up_proj", "down_proj",
                                    true};
constexpr GgufExperts kExpertsJoined{"mlp.experts.", "gate_proj", "up_proj",
                                     "down_proj",    false,       true};
constexpr GgufExperts kGemma4Joined{"experts.", "gate_proj", "up_proj", "down_proj",
                                    false,      true,        true};

// Of rows with one architecture the first that a file fits is its own: see fits.
constexpr GgufFamily kFamilies[] = {
    {"llama", "mixtral", "MixtralForCausalLM", true, false, kMixtral, true, true, kMixtralExperts},
    {"llama", "llama", "LlamaForCausalLM", true, false, {}, true, true},
    {"mistral3", "ministral3", "Ministral3ForCausalLM", true, false, {}, true, true},
    {"qwen2", "qwen2", "Qwen2ForCausalLM", false, false},
    {"qwen3", "qwen3", "Qwen3ForCausalLM", false, false},
    {"qwen3moe", "qwen3_moe", "Qwen3MoeForCausalLM", false, false, kRouter, false, false, kExperts},
    {"qwen3next", "qwen3_next", "Qwen3NextForCausalLM", false, true, kQwen3Next, false, false,
     kExperts},
    {"qwen35", "qwen3_5_text", "Qwen3_5ForCausalLM", false, true, kQwen35},
    {"qwen35moe", "qwen3_5_moe_text", "Qwen3_5MoeForCausalLM", false, true, kQwen35Moe, false,
     false, kExpertsJoined},
    {"gemma2", "gemma2", "Gemma2ForCausalLM", false, true, kBothSides},
    {"gemma3", "gemma3_text", "Gemma3ForCausalLM", false, true, kBothSides},
    {"gemma4", "gemma4_text", "Gemma4ForCausalLM", false, false, kGemma4, false, false,
     kGemma4Joined},
    {"granite", "granite", "GraniteForCausalLM", true, false, {}, true, true},
    {"smollm3", "smollm3", "SmolLM3ForCausalLM", true, false, {}, true, true},
    {"seed_oss", "seed_oss", "SeedOssForCausalLM", false, false, kBehind},
    {"olmo2", "olmo3", "Olmo3ForCausalLM", false, false, kBehind},
    {"olmo2", "olmo2", "Olmo2ForCausalLM", false, false, kBehind},
    {"olmoe", "olmoe", "OlmoeForCausalLM", false, false, kRouter, false, false, kExperts},
    {"exaone4", "exaone4", "Exaone4ForCausalLM", false, false, kBehind, false, true},
    {"starcoder2", "starcoder2", "Starcoder2ForCausalLM", false, false, kPlainMlp},
    {"phi3", "phi3", "Phi3ForCausalLM", false, false, kPhi},
    {"glm4", "glm4", "Glm4ForCausalLM", false, false, kGlm4},
    {"glm4moe", "glm4_moe", "Glm4MoeForCausalLM", false, false, kGlm4Moe, false, false, kExperts},
    {"ernie4_5", "ernie4_5", "Ernie4_5ForCausalLM", false, false},
    {"hunyuan-dense", "hunyuan_v1_dense", "HunYuanDenseV1ForCausalLM", false, false, kHunyuan},
    {"cohere2", "cohere2", "Cohere2ForCausalLM", false, false},
    {"gpt-oss", "gpt_oss", "GptOssForCausalLM", false, false, kGptOss, false, false, kExpertsAsOne},
    {"lfm2", "lfm2", "Lfm2ForCausalLM", false, false, kLfm2},
};

// Families whose heads are turned in part.
constexpr std::array kPartial{"phi3",       "glm4",         "glm4_moe",
                              "qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"};

// OLMo 3 is OLMo 2 with a window, Mixtral a Llama with experts.
bool fits(const GgufFamily& family, const GgufFile& file) {
  if (family.is("olmo3")) {
    return file.integer("olmo2.attention.sliding_window").value_or(0) > 0;
  }
  return !family.is("mixtral") || file.integer("llama.expert_count").value_or(0) > 0;
}

[[noreturn]] void fail_feature(const GgufFile& file, const std::string& what) {
  throw Error(kGgufSetting,
              fmt::format("{}: {}, which is not supported", file.path().string(), what))
      .hint("train another model of a supported family");
}

// "llama, mistral3": each architecture once.
std::string known_architectures() {
  std::string known;
  const char* last = "";
  for (const GgufFamily& family : kFamilies) {
    if (std::string_view(last) != family.architecture) {
      known += fmt::format("{}{}", known.empty() ? "" : ", ", family.architecture);
    }
    last = family.architecture;
  }
  return known;
}

}  // namespace

const GgufFamily& find_gguf_family(const GgufFile& file) {
  const std::string architecture = file.string("general.architecture").value_or("");
  for (const GgufFamily& family : kFamilies) {
    if (architecture != family.architecture || !fits(family, file)) {
      continue;
    }
    const auto key = [&](const char* rest) { return architecture + "." + rest; };
    if (file.integer(key("expert_count")).value_or(0) > 0 && !family.has_experts()) {
      fail_feature(file, "the model is a mixture of experts");
    }
    const int64_t heads = file.required_integer(key("attention.head_count"));
    const int64_t width = file.required_integer(key("embedding_length"));
    if (heads <= 0 || width <= 0) {
      fail_feature(file, fmt::format("the model has {} heads and a width of {}", heads, width));
    }
    const int64_t head_dim = file.integer(key("attention.key_length")).value_or(width / heads);
    const int64_t value_dim = file.integer(key("attention.value_length")).value_or(head_dim);
    const int64_t rotated = file.integer(key("rope.dimension_count")).value_or(head_dim);
    const bool partial = std::ranges::find(kPartial, family.model_type, [](const char* type) {
                           return std::string_view(type);
                         }) != kPartial.end();
    const bool turned = partial ? rotated > 0 && rotated <= head_dim : rotated == head_dim;
    if (value_dim != head_dim || head_dim <= 0 || !turned) {
      fail_feature(file, fmt::format("keys of {}, values of {} and {} rotated dimensions differ",
                                     head_dim, value_dim, rotated));
    }
    return family;
  }
  throw Error(kGgufFamily, fmt::format("{} holds a model of the architecture \"{}\", which is not "
                                       "supported",
                                       file.path().string(), architecture))
      .hint(fmt::format("supported in GGUF files: {}", known_architectures()));
}

const GgufFamily& gguf_family_of(const Json& config) {
  const std::string_view architecture = find_family(config).architecture;
  for (const GgufFamily& family : kFamilies) {
    // A Mistral is a Llama to llama.cpp.
    if (architecture == family.class_name ||
        (architecture == "MistralForCausalLM" && family.is("llama"))) {
      return family;
    }
  }
  throw Error(kGgufFamily,
              fmt::format("{} cannot be written as a GGUF file", std::string(architecture)))
      .hint("keep the folder as it is: llama.cpp has no layout that is known here");
}

}  // namespace sft
