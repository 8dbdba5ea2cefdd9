// Gemma 3, text only: norms before and after attention and MLP that multiply by 1 + weight, scaled
// embeddings, and two kinds of layers, each with its own rope: sliding and global.
#include <cmath>
#include <tuple>

#include "core/error.h"
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/families.h"

namespace sft {

namespace {

bool slides(const Json& config, int layer) {
  const int pattern = whole_or(config, "sliding_window_pattern", 6, {1, 10'000});
  return (layer + 1) % pattern != 0;
}

// The ropes of global (0) and sliding (1) layers.
std::vector<RopeFrequencies> read_ropes(const Json& config, int head_dim) {
  if (config.contains("rope_parameters") && config["rope_parameters"].is_object() &&
      config["rope_parameters"].contains("full_attention")) {
    const Json& both = config["rope_parameters"];
    if (!both.contains("sliding_attention")) {
      throw Error("M034", "config.json: rope_parameters has no \"sliding_attention\"")
          .hint("use the folder of a whole model, as published or as saved by transformers");
    }
    return {rope_from(both["full_attention"], config, head_dim),
            rope_from(both["sliding_attention"], config, head_dim)};
  }
  Json global = config;
  if (!config.contains("rope_theta") && !config.contains("rope_parameters")) {
    global["rope_theta"] = 1000000.0;
  }
  const Json local = {{"rope_theta", real_or(config, "rope_local_base_freq", 10000.0, {1, 1e15})}};
  return {read_rope(global, head_dim), rope_from(local, config, head_dim)};
}

ModelConfig read(const Json& source) {
  Json config = source;  // with the defaults that published files leave out
  const Json defaults = {{"head_dim", 256},
                         {"num_attention_heads", 8},
                         {"num_key_value_heads", 4},
                         {"hidden_activation", "gelu_pytorch_tanh"},
                         {"sliding_window", 4096},
                         {"tie_word_embeddings", true},
                         {"max_position_embeddings", 131072},
                         {"pad_token_id", 0}};
  for (const auto& [key, value] : defaults.items()) {
    if (!config.contains(key)) {
      config[key] = value;
    }
  }
  config.erase("hidden_act");
  ModelConfig m = read_common(config);
  for (const char* field :
       {"attn_logit_softcapping", "final_logit_softcapping", "use_bidirectional_attention"}) {
    refuse_field(config, field);
  }
  m.qkv_bias = m.output_bias = flag_or(config, "attention_bias", false);
  m.norm.weight_offset = 1.0F;
  m.embedding_scale = std::sqrt(static_cast<float>(m.hidden));
  m.attention_scale =
      1.0F /
      std::sqrt(static_cast<float>(real_or(config, "query_pre_attn_scalar", 256, {1e-6, 1e9})));
  m.ropes = read_ropes(config, m.head_dim);
  read_windows(config, m, slides);
  for (ModelConfig::Layer& layer : m.layer) {
    layer.rope = layer.window > 0 ? 1 : 0;
  }
  return m;
}

std::vector<ParamSpec> parameters(const ModelConfig& c) {
  std::vector<ParamSpec> specs;
  add_embedding(specs, c);
  for (int layer = 0; layer < c.layers; ++layer) {
    add_norm(specs, c, layer, "input_layernorm");
    add_attention(specs, c, layer, true);
    add_norm(specs, c, layer, "post_attention_layernorm");
    add_norm(specs, c, layer, "pre_feedforward_layernorm");
    add_mlp(specs, c, layer);
    add_norm(specs, c, layer, "post_feedforward_layernorm");
  }
  add_head(specs, c);
  return specs;
}

Value forward(Program& p, const ModelConfig& c, const Weights& w, const ModelInputs& inputs) {
  const std::vector<Value> tables = rope_tables(p, c, inputs);
  Value x = embed(p, c, w, inputs);
  Value delta, h;
  for (int layer = 0; layer < c.layers; ++layer) {
    const std::string prefix = layer_prefix(layer);
    const auto norm = [&](const char* name) { return w(prefix + name + ".weight"); };
    p.begin_block(layer);
    if (delta) {
      std::tie(x, h) = add_rmsnorm(p, x, delta, norm("input_layernorm"), c.norm);
    } else {
      h = rmsnorm(p, x, norm("input_layernorm"), c.norm);
    }
    Value y = attention_block(p, c, w, inputs, tables, layer, h);
    y = rmsnorm(p, y, norm("post_attention_layernorm"), c.norm);
    x = kept_rows(p, c, inputs, layer, x);
    std::tie(x, h) = add_rmsnorm(p, x, y, norm("pre_feedforward_layernorm"), c.norm);
    y = mlp_block(p, c, w, layer, h);
    delta = rmsnorm(p, y, norm("post_feedforward_layernorm"), c.norm);
    p.end_block();
  }
  return add_rmsnorm(p, x, delta, w("model.norm.weight"), c.norm).second;
}

}  // namespace

Family gemma3_family() { return {"Gemma3ForCausalLM", "gemma3_text", read, parameters, forward}; }

}  // namespace sft
