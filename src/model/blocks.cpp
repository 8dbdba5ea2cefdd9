#include "model/blocks.h"

#include <fmt/format.h>

#include "ops/add_noise.h"
#include "ops/dora.h"
#include "ops/embedding.h"
#include "ops/embedding_lora.h"
#include "ops/gated_mlp.h"
#include "ops/gather_rows.h"
#include "ops/linear.h"

namespace sft {

std::string layer_prefix(int layer) { return fmt::format("model.layers.{}.", layer); }

void add_embedding(std::vector<ParamSpec>& specs, const ModelConfig& c) {
  const std::string name = kEmbeddingWeight;
  specs.push_back(
      {name, {c.vocab, c.hidden}, {{name, c.vocab}}, 0, ParamKind::matrix, Init::normal});
}

Value embed(Program& p, const ModelConfig& c, const Weights& w, const ModelInputs& inputs) {
  const Linear table = w.embedding();
  Value x = embedding(p, inputs.tokens, table.weight, c.embedding_scale, c.padding);
  for (const Lora& lora : table.lora) {
    Lora scaled = lora;
    scaled.pieces[0].scale *= c.embedding_scale;
    add_embedding_lora(p, inputs.tokens, scaled, c.padding, x);
    x = lora.magnitude ? decomposed_embedding(p, x, table.weight, lora) : x;
  }
  return inputs.noise ? add_noise(p, x, inputs.noise) : x;
}

void add_head(std::vector<ParamSpec>& specs, const ModelConfig& c) {
  const std::string norm = "model.norm.weight";
  specs.push_back({norm,
                   {c.hidden},
                   {{norm, c.hidden}},
                   c.layers + 1,
                   ParamKind::norm,
                   c.norm.weight_offset == 0.0F ? Init::ones : Init::zeros});
  if (!c.tied) {
    const std::string head = kHeadWeight;
    specs.push_back({head,
                     {c.vocab, c.hidden},
                     {{head, c.vocab}},
                     c.layers + 1,
                     ParamKind::matrix,
                     Init::normal});
  }
}

void add_norm(std::vector<ParamSpec>& specs, const ModelConfig& c, int layer,
              const std::string& name) {
  const std::string full = layer_prefix(layer) + name + ".weight";
  specs.push_back({full,
                   {c.hidden},
                   {{full, c.hidden}},
                   layer + 1,
                   ParamKind::norm,
                   c.norm.weight_offset == 0.0F ? Init::ones : Init::zeros});
}

void add_attention(std::vector<ParamSpec>& specs, const ModelConfig& c, int layer, bool qk_norm) {
  const std::string prefix = layer_prefix(layer) + "self_attn.";
  const int64_t q = int64_t{c.heads} * c.head_dim;
  const int64_t kv = int64_t{c.kv_heads} * c.head_dim;
  const auto pieces = [&](const char* kind) {
    return std::vector<ParamPiece>{{prefix + "q_proj." + kind, q},
                                   {prefix + "k_proj." + kind, kv},
                                   {prefix + "v_proj." + kind, kv}};
  };
  const int block = layer + 1;
  specs.push_back({prefix + "qkv_proj.weight",
                   {q + 2 * kv, c.hidden},
                   pieces("weight"),
                   block,
                   ParamKind::matrix,
                   Init::normal});
  if (c.qkv_bias) {
    specs.push_back({prefix + "qkv_proj.bias",
                     {q + 2 * kv},
                     pieces("bias"),
                     block,
                     ParamKind::bias,
                     Init::zeros});
  }
  if (qk_norm) {
    for (const char* name : {"q_norm.weight", "k_norm.weight"}) {
      specs.push_back({prefix + name,
                       {c.head_dim},
                       {{prefix + name, c.head_dim}},
                       block,
                       ParamKind::norm,
                       c.norm.weight_offset == 0.0F ? Init::ones : Init::zeros});
    }
  }
  specs.push_back({prefix + "o_proj.weight",
                   {c.hidden, q},
                   {{prefix + "o_proj.weight", c.hidden}},
                   block,
                   ParamKind::matrix,
                   Init::normal});
  if (c.output_bias) {
    specs.push_back({prefix + "o_proj.bias",
                     {c.hidden},
                     {{prefix + "o_proj.bias", c.hidden}},
                     block,
                     ParamKind::bias,
                     Init::zeros});
  }
}

void add_mlp(std::vector<ParamSpec>& specs, const ModelConfig& c, int layer) {
  const std::string prefix = layer_prefix(layer) + "mlp.";
  const int block = layer + 1;
  const auto pieces = [&](const char* kind) {
    return std::vector<ParamPiece>{{prefix + "gate_proj." + kind, c.intermediate},
                                   {prefix + "up_proj." + kind, c.intermediate}};
  };
  const std::string down = prefix + "down_proj.";
  specs.push_back({prefix + "gate_up_proj.weight",
                   {2 * c.intermediate, c.hidden},
                   pieces("weight"),
                   block,
                   ParamKind::matrix,
                   Init::normal});
  specs.push_back({down + "weight",
                   {c.hidden, c.intermediate},
                   {{down + "weight", c.hidden}},
                   block,
                   ParamKind::matrix,
                   Init::normal});
  if (c.mlp_bias) {
    specs.push_back({prefix + "gate_up_proj.bias",
                     {2 * c.intermediate},
                     pieces("bias"),
                     block,
                     ParamKind::bias,
                     Init::zeros});
    specs.push_back({down + "bias",
                     {c.hidden},
                     {{down + "bias", c.hidden}},
                     block,
                     ParamKind::bias,
                     Init::zeros});
  }
}

Value kept_rows(Program& p, const ModelConfig& c, const ModelInputs& inputs, int layer, Value x) {
  return inputs.kept && layer + 1 == c.layers ? gather_rows(p, x, inputs.kept) : x;
}

Value attention_block(Program& p, const ModelConfig& c, const Weights& w, const ModelInputs& inputs,
                      const std::vector<Value>& tables, int layer, Value x) {
  const std::string prefix = layer_prefix(layer) + "self_attn.";
  const ModelConfig::Layer& kind = c.layer[static_cast<size_t>(layer)];
  const Heads heads = c.attention_heads();
  Value qkv = linear(p, x, w.linear(prefix + "qkv_proj."));
  if (const Value q_norm = w.optional(prefix + "q_norm.weight")) {
    qkv = qk_norm(p, qkv, q_norm, w(prefix + "k_norm.weight"), heads, c.norm);
  }
  qkv = rope(p, qkv, tables[static_cast<size_t>(kind.rope)], heads);
  const Attention options{heads, c.attention_scale, kind.window, inputs.longest};
  const Value y = inputs.caches.empty()
                      ? attention(p, qkv, inputs.documents, options)
                      : cached_attention(p, qkv, inputs.caches[static_cast<size_t>(layer)],
                                         inputs.past, options);
  return linear(p, kept_rows(p, c, inputs, layer, y), w.linear(prefix + "o_proj."));
}

Value mlp_block(Program& p, const ModelConfig& c, const Weights& w, int layer, Value x) {
  const std::string prefix = layer_prefix(layer) + "mlp.";
  return gated_mlp(p, x, w.linear(prefix + "gate_up_proj."), w.linear(prefix + "down_proj."),
                   c.activation);
}

std::vector<Value> rope_tables(Program& p, const ModelConfig& c, const ModelInputs& inputs) {
  std::vector<Value> tables;
  for (const RopeFrequencies& rope : c.ropes) {
    tables.push_back(rope_table(p, inputs.positions, rope));
  }
  return tables;
}

std::vector<ParamSpec> prenorm_parameters(const ModelConfig& c, bool qk_norm) {
  std::vector<ParamSpec> specs;
  add_embedding(specs, c);
  for (int layer = 0; layer < c.layers; ++layer) {
    add_norm(specs, c, layer, "input_layernorm");
    add_attention(specs, c, layer, qk_norm);
    add_norm(specs, c, layer, "post_attention_layernorm");
    add_mlp(specs, c, layer);
  }
  add_head(specs, c);
  return specs;
}

Value prenorm_forward(Program& p, const ModelConfig& c, const Weights& w,
                      const ModelInputs& inputs) {
  const std::vector<Value> tables = rope_tables(p, c, inputs);
  Value x = embed(p, c, w, inputs);
  Value delta;  // what the block before has yet to add to x
  Value h;
  for (int layer = 0; layer < c.layers; ++layer) {
    const std::string prefix = layer_prefix(layer);
    p.begin_block(layer);
    const Value norm = w(prefix + "input_layernorm.weight");
    if (delta) {
      std::tie(x, h) = add_rmsnorm(p, x, delta, norm, c.norm);
    } else {
      h = rmsnorm(p, x, norm, c.norm);
    }
    const Value attended = attention_block(p, c, w, inputs, tables, layer, h);
    x = kept_rows(p, c, inputs, layer, x);
    std::tie(x, h) =
        add_rmsnorm(p, x, attended, w(prefix + "post_attention_layernorm.weight"), c.norm);
    delta = mlp_block(p, c, w, layer, h);
    p.end_block();
  }
  return add_rmsnorm(p, x, delta, w("model.norm.weight"), c.norm).second;
}

}  // namespace sft
