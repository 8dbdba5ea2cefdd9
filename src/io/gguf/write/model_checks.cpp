#include "io/gguf/write/model_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "io/gguf/write/rope_keys.h"

namespace sft {

namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw Error("M284", what + " has no key in a GGUF file")
      .hint("export to safetensors instead: the folder is one");
}

bool near(double a, double b) { return std::abs(a - b) <= 1e-6 * std::abs(b); }

// Whether the layers that see a window alone are those that the runtime takes.
template <class Slides>
void check_windows(const ModelConfig& model, const char* which, Slides slides) {
  for (int i = 0; i < model.layers; ++i) {
    if ((model.layer[static_cast<size_t>(i)].window > 0) != slides(i)) {
      refuse(fmt::format("a window that is not in {}", which));
    }
  }
}

void check_gemma2(const ModelConfig& model) {
  const bool largest = model.layers == 46;
  const int64_t usual = largest ? model.hidden / model.heads : model.head_dim;
  if (!near(static_cast<double>(model.attention_scale),
            1.0 / std::sqrt(static_cast<double>(usual)))) {
    refuse(fmt::format("a query_pre_attn_scalar that is not {}", usual));
  }
  check_windows(model, "every other layer", [](int layer) { return layer % 2 == 0; });
}

void check_smollm3(const ModelConfig& model) {
  for (int i = 0; i < model.layers; ++i) {
    const ModelConfig::Layer& layer = model.layer[static_cast<size_t>(i)];
    if (layer.window > 0 || (layer.rope < 0) != ((i + 1) % 4 == 0)) {
      refuse("a layer without rope that is not each 4th, or with a window,");
    }
  }
}

void check_cohere2(const ModelConfig& model) {
  check_windows(model, "all layers but each 4th", [](int layer) { return layer % 4 != 3; });
  if (model.qkv_bias || !model.tied) {
    refuse(model.tied ? "a bias of attention" : "a head of its own");
  }
}

void check_gpt_oss(const ModelConfig& model) {
  check_windows(model, "every other layer", [](int layer) { return layer % 2 == 0; });
  if (!near(model.clamped->alpha, 1.702) || !near(model.clamped->limit, 7.0)) {
    refuse("a swiglu_alpha that is not 1.702, or a swiglu_limit that is not 7,");
  }
  if (!model.output_bias) {
    refuse("attention without biases");
  }
}

// Of Qwen3, Qwen3-Next and Qwen3.5, whose runtime has one form alone.
void check_qwen_experts(const ModelConfig& model) {
  if (!std::ranges::all_of(model.layer, &ModelConfig::Layer::experts)) {
    refuse("a layer without experts");
  }
  if (!model.routing.normalise) {
    refuse("a norm_topk_prob that is not true");
  }
}

void check_delta(const GgufFamily& family, const ModelConfig& model) {
  if (model.qkv_bias || model.delta.key_dim != model.delta.value_dim) {
    refuse("a linear_value_head_dim other than linear_key_head_dim, or a bias of attention,");
  }
  if (family.has_experts()) {
    check_qwen_experts(model);
  }
}

void check_olmoe(const ModelConfig& model) {
  if (!near(model.norm.eps, 1e-5) || model.routing.normalise) {
    refuse("a rms_norm_eps that is not 1e-5, or a norm_topk_prob that is not false,");
  }
  if (model.heads != model.kv_heads) {
    refuse("a number of key heads other than that of heads");
  }
}

void check_ministral3(const ModelConfig& model, const Json& config) {
  const Json rope = rope_of(config);
  if (rope.value("rope_type", "") != "yarn" || !near(rope.value("mscale", 1.0), 1.0) ||
      !rope.contains("mscale_all_dim")) {
    refuse("a rope that is not yarn with an mscale of 1 and an mscale_all_dim");
  }
  check_windows(model, "no layer", [](int) { return false; });
}

void check_gemma4(const ModelConfig& model, const Json& config) {
  const Json rope = rope_of(config);
  if (rope.value("rope_type", "proportional") != "proportional" ||
      !near(rope.value("factor", 1.0), 1.0)) {
    refuse("a rope of full layers that is not proportional, or with a factor,");
  }
  const Json ropes = config.contains("rope_parameters") ? config["rope_parameters"] : Json();
  if (ropes.is_object() && ropes.contains("sliding_attention") &&
      (ropes["sliding_attention"].value("rope_type", "default") != "default" ||
       ropes["sliding_attention"].value("partial_rotary_factor", 1.0) != 1.0)) {
    refuse("a rope of sliding layers that is not the default one");
  }
  if (model.qkv_bias) {
    refuse("a bias of attention");
  }
  if (model.logit_cap == 0) {
    refuse("a final_logit_softcapping of null (the runtime then takes 30)");
  }
  for (int layer = 0; layer < model.layers; ++layer) {
    const Heads heads = model.attention_heads(layer);
    const bool slides = model.at(layer).window > 0;
    const Heads kind = slides ? Heads{model.heads, model.kv_heads, model.head_dim}
                              : model.attention_heads(model.layers - 1);
    if (heads != kind) {
      refuse("a number of key heads that differs within one kind of layer");
    }
  }
  // Layers without keys of their own look at the last two that have some.
  const auto first = static_cast<size_t>(
      std::ranges::find_if(model.layer, [](const auto& layer) { return layer.shares >= 0; }) -
      model.layer.begin());
  if (first < model.layer.size() &&
      (first < 2 || model.layer[first - 1].window > 0 || model.layer[first - 2].window == 0)) {
    refuse("a num_kv_shared_layers that leaves no sliding layer and then a full one as the last");
  }
}

// The scale of attention goes by the two lengths, whatever config.json says.
void check_longrope(const ModelConfig& model, const Json& config) {
  const Json rope = rope_of(config);
  if (rope.contains("long_factor") &&
      !near(model.ropes[0].attention_factor, longrope_attention(config))) {
    refuse("an attention_factor of longrope that does not follow from its lengths");
  }
}

}  // namespace

void check_gguf_model(const GgufFamily& family, const Json& config, const ModelConfig& model) {
  if (family.is("gemma2")) {
    check_gemma2(model);
  } else if (family.is("gemma4_text")) {
    check_gemma4(model, config);
  } else if (family.is("smollm3")) {
    check_smollm3(model);
  } else if (family.is("cohere2")) {
    check_cohere2(model);
  } else if (family.is("gpt_oss")) {
    check_gpt_oss(model);
  } else if (family.is("qwen3_moe")) {
    check_qwen_experts(model);
  } else if (family.is("olmoe")) {
    check_olmoe(model);
  } else if (family.is("ministral3")) {
    check_ministral3(model, config);
  } else if (family.is("phi3")) {
    check_longrope(model, config);
  } else if (family.is("ernie4_5") && model.mlp_bias) {
    refuse("a bias of the MLP");
  } else if (family.is("hunyuan_v1_dense") && model.output_bias) {
    refuse("a bias of attention");
  } else if (family.has_delta()) {
    check_delta(family, model);
  } else if (family.is("lfm2") && model.conv_bias) {
    refuse("a bias of the convolutions");
  }
  const bool by_width = family.is("cohere2") || family.is("phi3");
  if (by_width && int64_t{model.heads} * model.head_dim != model.hidden) {
    refuse("a head_dim that is not hidden_size / num_attention_heads");
  }
}

}  // namespace sft
