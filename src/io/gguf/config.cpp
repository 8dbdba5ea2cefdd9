#include "io/gguf/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/json.h"
#include "io/gguf/config_rope.h"
#include "io/gguf/metadata_reader.h"

namespace sft {

namespace {

// Late releases of transformers 4 warn falsely about a local folder that names no version.
constexpr const char* kTransformersVersion = "4.57.6";

// Which layers see only a window: all but one of `usual`, unless the file says otherwise.
Json layer_types(const MetadataReader& r, int64_t layers, bool windowed, int64_t usual) {
  const GgufValue* v = r.file().value(r.key("attention.sliding_window_pattern"));
  const auto* flags = v == nullptr ? nullptr : std::get_if<std::vector<bool>>(&v->value);
  const auto* period = v == nullptr ? nullptr : std::get_if<int64_t>(&v->value);
  const int64_t every = period != nullptr && *period > 0 ? *period : usual;
  Json types = Json::array();
  for (int64_t i = 0; i < layers; ++i) {
    const bool listed = flags != nullptr && i < static_cast<int64_t>(flags->size());
    const bool slides = listed ? (*flags)[static_cast<size_t>(i)] : (i + 1) % every != 0;
    types.push_back(windowed && slides ? "sliding_attention" : "full_attention");
  }
  return types;
}

void add_gemma(const MetadataReader& r, Json& config, int64_t layers) {
  const bool second = r.family().is("gemma2");
  const int64_t largest = second ? 46 : 62;  // layers of the 27B
  const auto window = r.integer("attention.sliding_window");
  const auto optional_number = [&](const char* key) {
    const auto x = r.number(key);
    return x ? Json(*x) : Json();
  };
  config["hidden_activation"] = "gelu_pytorch_tanh";
  config["sliding_window"] = window ? Json(*window) : Json();
  config["layer_types"] = layer_types(r, layers, window.has_value(), second ? 2 : 6);
  config["attn_logit_softcapping"] = optional_number("attn_logit_softcapping");
  config["final_logit_softcapping"] = optional_number("final_logit_softcapping");
  // Not in the file; every size takes the head's width but the largest.
  config["query_pre_attn_scalar"] =
      layers == largest ? r.size("embedding_length") / r.heads() : r.head_dim();
}

// The value of one kind of layer, which all layers of it have; nothing where there is none.
std::optional<int64_t> of_kind(const MetadataReader& r, const std::vector<int64_t>& values,
                               const Json& types, const char* kind) {
  std::optional<int64_t> found;
  for (size_t i = 0; i < values.size(); ++i) {
    if (types[i] == kind && found.value_or(values[i]) != values[i]) {
      r.fail("the number of key heads differs within one kind of layer");
    }
    found = types[i] == kind ? values[i] : found;
  }
  return found;
}

void add_gemma4(const MetadataReader& r, Json& config, int64_t layers) {
  const Json types = layer_types(r, layers, true, 6);
  const int64_t shared = r.integer("attention.shared_kv_layers").value_or(0);
  const std::vector<int64_t> wide = r.by_layer("feed_forward_length", layers);
  const std::vector<int64_t> heads = r.by_layer("attention.head_count_kv", layers);
  const int64_t of_full = of_kind(r, heads, types, "full_attention").value_or(heads[0]);
  const int64_t of_sliding = of_kind(r, heads, types, "sliding_attention").value_or(of_full);
  bool keys_alone = false;
  for (int64_t i = 0; i < layers - shared; ++i) {
    const bool full = types[static_cast<size_t>(i)] == "full_attention";
    const bool alone = r.file().find(fmt::format("blk.{}.attn_v.weight", i)) == nullptr;
    if (alone && !full) {
      r.fail(fmt::format("layer {} has no values", i));
    }
    keys_alone |= alone;
  }
  if (of_full != of_sliding && !keys_alone) {
    r.fail("the number of key heads differs from layer to layer");
  }
  for (int64_t i = 0; i < layers; ++i) {
    const bool twice = i >= layers - shared && wide.back() == 2 * wide[0];
    if (wide[static_cast<size_t>(i)] != wide[0] * (twice ? 2 : 1)) {
      r.fail("the widths of the layers' MLPs differ in another way than by sharing");
    }
  }
  const GgufTensor* const words = r.file().find("per_layer_token_embd.weight");
  config["attention_k_eq_v"] = keys_alone;
  config["enable_moe_block"] = r.integer("expert_count").value_or(0) > 0;
  if (config["enable_moe_block"].get<bool>()) {
    config["num_experts"] = r.size("expert_count");
    config["top_k_experts"] = r.size("expert_used_count");
    config["moe_intermediate_size"] = r.size("expert_feed_forward_length");
  }
  config["final_logit_softcapping"] =
      r.number("final_logit_softcapping").value_or(30.0);  // as the runtime has it
  config["global_head_dim"] = r.head_dim();
  config["head_dim"] = r.size("attention.key_length_swa");
  config["hidden_activation"] = "gelu_pytorch_tanh";
  config["hidden_size_per_layer_input"] = r.integer("embedding_length_per_layer_input").value_or(0);
  config["intermediate_size"] = wide[0];
  config["layer_types"] = types;
  config["num_global_key_value_heads"] = keys_alone ? Json(of_full) : Json();
  config["num_key_value_heads"] = of_sliding;
  config["num_kv_shared_layers"] = shared;
  config["sliding_window"] = r.size("attention.sliding_window");
  config["use_double_wide_mlp"] = shared > 0 && wide.back() != wide[0];
  config["vocab_size_per_layer_input"] = words == nullptr ? r.vocab() : words->shape[0];
}

void add_token_ids(const GgufFile& file, int64_t vocab, Json& config) {
  for (const auto& [key, name] : {std::pair{"tokenizer.ggml.bos_token_id", "bos_token_id"},
                                  {"tokenizer.ggml.eos_token_id", "eos_token_id"},
                                  {"tokenizer.ggml.padding_token_id", "pad_token_id"}}) {
    const auto id = file.integer(key);
    if (id && (*id < 0 || *id >= vocab)) {
      throw Error("M228", fmt::format("{}: {} is {}, beyond the vocabulary of {}",
                                      file.path().string(), key, *id, vocab))
          .hint("the file is damaged; fetch or convert it again");
    }
    config[name] = id ? Json(*id) : Json();
  }
}

// What the families but Llama, Qwen and Gemma have of their own.
void add_own(const MetadataReader& r, const GgufFile& file, Json& config, int64_t layers) {
  const GgufFamily& family = r.family();
  const auto number = [&](const char* field, const char* key, double usual) {
    config[field] = r.number(key).value_or(usual);
  };
  const auto has = [&](const char* tensor) { return file.find(tensor) != nullptr; };
  const auto window = r.integer("attention.sliding_window");
  if (family.is("granite")) {
    number("attention_multiplier", "attention.scale",
           1.0 / std::sqrt(static_cast<double>(r.head_dim())));
    number("embedding_multiplier", "embedding_scale", 1.0);
    number("residual_multiplier", "residual_scale", 1.0);
    number("logits_scaling", "logit_scale", 1.0);
  } else if (family.is("olmo3") || family.is("exaone4")) {
    config["sliding_window"] = window ? Json(*window) : Json();
    config["layer_types"] = layer_types(r, layers, window.has_value(), 4);
  } else if (family.is("smollm3")) {
    config["no_rope_layer_interval"] = 4;  // the runtime has it so
    config["use_sliding_window"] = false;
  } else if (family.is("seed_oss")) {
    config["attention_out_bias"] = has("blk.0.attn_output.bias");
    config["residual_dropout"] = 0.0;
  } else if (family.is("starcoder2")) {
    number("norm_epsilon", "attention.layer_norm_epsilon", 1e-5);
    config["use_bias"] = has("blk.0.attn_q.bias");
    config["hidden_act"] = "gelu_pytorch_tanh";
    config["sliding_window"] = nullptr;
    for (const char* field : {"residual_dropout", "embedding_dropout"}) {
      config[field] = 0.0;
    }
    config.erase("rms_norm_eps");
    config.erase("attention_bias");
  }
  if (family.is("granite") || family.is("smollm3") || family.is("seed_oss")) {
    config["mlp_bias"] = has("blk.0.ffn_down.bias");
  }
}

// The same of those that came with experts, or after them.
void add_newer(const MetadataReader& r, const GgufFile& file, Json& config, int64_t layers) {
  const GgufFamily& family = r.family();
  const auto has = [&](const char* tensor) { return file.find(tensor) != nullptr; };
  const auto window = r.integer("attention.sliding_window").value_or(0);
  if (family.is("phi3")) {
    const int64_t positions = r.size("context_length");
    config["original_max_position_embeddings"] =
        r.integer("rope.scaling.original_context_length").value_or(positions);
    config["sliding_window"] = window > 0 ? Json(window) : Json();
    config["embd_pdrop"] = config["resid_pdrop"] = 0.0;
    config.erase("attention_bias");
    config.erase("head_dim");
  } else if (family.is("ernie4_5")) {
    config["use_bias"] = has("blk.0.attn_q.bias");
    config.erase("attention_bias");
  } else if (family.is("cohere2")) {
    config["layer_norm_eps"] = r.number("attention.layer_norm_epsilon").value_or(1e-5);
    config["logit_scale"] = r.number("logit_scale").value_or(1.0);
    config["sliding_window"] = window;
    config["layer_types"] = layer_types(r, layers, window > 0, 4);
    config.erase("rms_norm_eps");
  } else if (family.is("ministral3") || family.is("mixtral")) {
    config["sliding_window"] = nullptr;
    config.erase("attention_bias");
  } else if (family.is("qwen3_next")) {
    config["norm_topk_prob"] = true;  // the runtime has it so
    config["decoder_sparse_step"] = 1;
    config["mlp_only_layers"] = Json::array();
  } else if (family.is("qwen3_moe")) {
    config["norm_topk_prob"] = true;  // the runtime has it so
    config["decoder_sparse_step"] = 1;
    config["mlp_only_layers"] = Json::array();
    config["use_sliding_window"] = false;
    config["sliding_window"] = nullptr;
  } else if (family.is("olmoe")) {
    config["norm_topk_prob"] = false;
    config["clip_qkv"] = nullptr;
  } else if (family.is("gpt_oss")) {
    config["sliding_window"] = window;
    config["layer_types"] = layer_types(r, layers, window > 0, 2);
    config["swiglu_limit"] = 7.0;
  } else if (family.is("glm4_moe")) {
    config["first_k_dense_replace"] = r.integer("leading_dense_block_count").value_or(0);
    config["n_shared_experts"] = r.integer("expert_shared_count").value_or(0);
    config["routed_scaling_factor"] = r.number("expert_weights_scale").value_or(1.0);
    config["norm_topk_prob"] = file.boolean(r.key("expert_weights_norm")).value_or(true);
    config["n_group"] = r.integer("expert_group_count").value_or(1);
    config["topk_group"] = r.integer("expert_group_used_count").value_or(1);
    config["use_qk_norm"] = has("blk.0.attn_q_norm.weight");
  }
  if (family.has_experts()) {
    const char* const count = family.is("mixtral") || family.is("gpt_oss") ? "num_local_experts"
                              : family.is("glm4_moe")                      ? "n_routed_experts"
                                                                           : "num_experts";
    config[count] = r.size("expert_count");
    config["num_experts_per_tok"] = r.size("expert_used_count");
    config["output_router_logits"] = false;
    if (const auto width = r.integer("expert_feed_forward_length")) {
      config[family.is("gpt_oss") ? "intermediate_size" : "moe_intermediate_size"] = *width;
    }
    if (const auto width = r.integer("expert_shared_feed_forward_length")) {
      config["shared_expert_intermediate_size"] = *width;
    }
  }
}

// Layers that are no attention: by a list of the file, or else all but each of `usual`.
Json mixer_types(const MetadataReader& r, int64_t layers, const char* name, const char* list,
                 int64_t usual) {
  const GgufValue* const v = r.file().value(r.key(list));
  const auto* const flags = v == nullptr ? nullptr : std::get_if<std::vector<bool>>(&v->value);
  const auto* const heads = v == nullptr ? nullptr : std::get_if<std::vector<int64_t>>(&v->value);
  Json types = Json::array();
  for (int64_t i = 0; i < layers; ++i) {
    const auto at = static_cast<size_t>(i);
    const bool mixes = flags != nullptr && at < flags->size()   ? (*flags)[at]
                       : heads != nullptr && at < heads->size() ? (*heads)[at] == 0
                                                                : usual > 0 && (i + 1) % usual != 0;
    types.push_back(mixes ? name : "full_attention");
  }
  return types;
}

// Hybrids of attention and something else.
void add_hybrid(const MetadataReader& r, Json& config, int64_t layers) {
  if (r.family().has_delta()) {
    const int64_t interval = r.integer("full_attention_interval").value_or(4);
    const int64_t value_heads = r.size("ssm.time_step_rank");
    config["layer_types"] =
        mixer_types(r, layers, "linear_attention", "attention.recurrent_layers", interval);
    config["full_attention_interval"] = interval;
    config["linear_conv_kernel_dim"] = r.size("ssm.conv_kernel");
    config["linear_key_head_dim"] = r.size("ssm.state_size");
    config["linear_num_key_heads"] = r.size("ssm.group_count");
    config["linear_num_value_heads"] = value_heads;
    config["linear_value_head_dim"] = r.size("ssm.inner_size") / value_heads;
    if (!r.family().is("qwen3_next")) {
      config["attn_output_gate"] = true;
    }
  } else if (r.family().is("lfm2")) {
    config["layer_types"] = mixer_types(r, layers, "conv", "attention.head_count_kv", 0);
    config["norm_eps"] = config["rms_norm_eps"];
    config["conv_L_cache"] = r.size("shortconv.l_cache");
    config["conv_bias"] = false;
    config["block_ff_dim"] = config["intermediate_size"];
    config["block_auto_adjust_ff_dim"] = false;
    config["block_ffn_dim_multiplier"] = 1.0;
    config["block_multiple_of"] = 256;
    config["full_attn_idxs"] = nullptr;
    for (const char* field :
         {"rms_norm_eps", "attention_bias", "attention_dropout", "hidden_act"}) {
      config.erase(field);
    }
  }
}

bool has_bias(const GgufFile& file) { return file.find("blk.0.attn_q.bias") != nullptr; }

// By key, as transformers writes them.
Json sorted(const Json& config) {
  const nlohmann::json by_key = nlohmann::json::parse(to_text(config));
  return Json::parse(by_key.dump());
}

}  // namespace

Json config_from_gguf(const GgufFile& file, const GgufFamily& family, std::string_view dtype) {
  const MetadataReader r(file, family);
  const int64_t layers = r.size("block_count");
  if (layers > 10'000) {
    r.fail(fmt::format("it has {} layers", layers));
  }
  Json config{{"architectures", {family.class_name}},
              {"attention_bias", has_bias(file)},
              {"attention_dropout", 0.0},
              {"dtype", dtype},
              {"head_dim", r.head_dim()},
              {"hidden_size", r.size("embedding_length")},
              {"initializer_range", 0.02},
              {"max_position_embeddings", r.size("context_length")},
              {"model_type", family.model_type},
              {"num_attention_heads", r.heads()},
              {"num_hidden_layers", layers},
              {"rms_norm_eps", r.number("attention.layer_norm_rms_epsilon").value_or(1e-6)},
              {"tie_word_embeddings", file.find("output.weight") == nullptr},
              {"torch_dtype", dtype},
              {"transformers_version", kTransformersVersion},
              {"use_cache", true},
              {"vocab_size", r.vocab()}};
  add_token_ids(file, r.vocab(), config);
  add_rope(r, config);
  if (family.is("gemma4_text")) {
    add_gemma4(r, config, layers);
    return sorted(config);
  }
  config["num_key_value_heads"] = r.kv_heads();
  if (!family.is("qwen3_5_moe_text") || r.integer("feed_forward_length")) {
    config["intermediate_size"] = r.size("feed_forward_length");
  }
  if (family.is_gemma()) {
    add_gemma(r, config, layers);
    return sorted(config);
  }
  config["hidden_act"] = "silu";
  if (!family.is("llama") && !family.is("qwen2") && !family.is("qwen3")) {
    add_own(r, file, config, layers);
    add_newer(r, file, config, layers);
    add_hybrid(r, config, layers);
    return sorted(config);
  }
  if (family.is("llama")) {
    config["mlp_bias"] = file.find("blk.0.ffn_down.bias") != nullptr;
    config["pretraining_tp"] = 1;
  } else {
    // The runtime ignores Qwen's window, so the file never has one.
    config["use_sliding_window"] = false;
    config["sliding_window"] = nullptr;
    config["max_window_layers"] = layers;
    config["layer_types"] = std::vector<std::string>(static_cast<size_t>(layers), "full_attention");
  }
  if (family.is("qwen2")) {
    config.erase("attention_bias");  // Qwen2 always has it on q, k and v, and has no such key
  }
  return sorted(config);
}

Json generation_config_from_gguf(const GgufFile& file) {
  Json config = Json::object();
  const auto add = [&](const char* name, const char* key) {
    if (const auto id = file.integer(key)) {
      config[name] = *id;
    }
  };
  add("bos_token_id", "tokenizer.ggml.bos_token_id");
  add("eos_token_id", "tokenizer.ggml.eos_token_id");
  const auto turn_end = file.integer("tokenizer.ggml.eot_token_id");
  if (turn_end && config.contains("eos_token_id") && config["eos_token_id"] != *turn_end) {
    config["eos_token_id"] = {*turn_end, config["eos_token_id"]};
  }
  add("pad_token_id", "tokenizer.ggml.padding_token_id");
  config["transformers_version"] = kTransformersVersion;
  return config;
}

}  // namespace sft
