#include "model/blocks.h"

#include <fmt/format.h>

#include <tuple>
#include <utility>

#include "core/error.h"
#include "model/experts.h"
#include "model/few_rows_forward.h"
#include "model/mixers.h"
#include "ops/add_noise.h"
#include "ops/add_scaled.h"
#include "ops/attention.h"
#include "ops/cache_rows.h"
#include "ops/dora.h"
#include "ops/dropout.h"
#include "ops/embedding.h"
#include "ops/embedding_lora.h"
#include "ops/few_rows.h"
#include "ops/gated_mlp.h"
#include "ops/gather_rows.h"
#include "ops/layer_norm.h"
#include "ops/linear.h"
#include "ops/plain_activation.h"
#include "ops/qk_norm.h"
#include "ops/rmsnorm.h"
#include "ops/rope.h"
#include "ops/sigmoid_gate.h"
#include "ops/split_columns.h"
#include "ops/step_attention.h"

namespace sft {

std::string layer_prefix(int layer) { return fmt::format("model.layers.{}.", layer); }

void add_embedding(std::vector<ParamSpec>& specs, const ModelConfig& c) {
  const std::string name = kEmbeddingWeight;
  specs.push_back(
      {name, {c.vocab, c.hidden}, {{name, c.vocab}}, 0, ParamKind::matrix, Init::normal, true});
}

namespace {

// x, or in training what dropout leaves of it.
Value dropped(Program& p, const ModelInputs& inputs, Value x, float rate, DropoutPlace place,
              int layer) {
  return inputs.dropout.keys ? dropout(p, x, {rate, dropout_site(place, layer), inputs.dropout})
                             : x;
}

}  // namespace

Value embed(Program& p, const ModelConfig& c, const Weights& w, const ModelInputs& inputs) {
  const Linear table = w.embedding();
  Value x = embedding(p, inputs.tokens, table.weight, c.embedding_scale, c.padding);
  for (const Lora& lora : table.lora) {
    Lora scaled = lora;
    scaled.pieces[0].scale *= c.embedding_scale;
    add_embedding_lora(p, inputs.tokens, scaled, c.padding, x);
    x = lora.magnitude ? decomposed_embedding(p, x, table.weight, lora) : x;
  }
  x = inputs.noise ? add_noise(p, x, inputs.noise) : x;
  return dropped(p, inputs, x, c.drops.embedding, DropoutPlace::embedding, 0);
}

namespace {

void add_matrix(std::vector<ParamSpec>& specs, const std::string& prefix, int64_t out, int64_t in,
                std::vector<ParamPiece> pieces, int block) {
  specs.push_back(
      {prefix + "weight", {out, in}, std::move(pieces), block, ParamKind::matrix, Init::normal});
}

void add_bias(std::vector<ParamSpec>& specs, const std::string& prefix, int64_t out,
              std::vector<ParamPiece> pieces, int block) {
  specs.push_back({prefix + "bias", {out}, std::move(pieces), block, ParamKind::bias, Init::zeros});
}

}  // namespace

void add_linear(std::vector<ParamSpec>& specs, const std::string& prefix, int64_t out, int64_t in,
                bool bias, int block, const std::vector<ParamPiece>& parts) {
  const auto pieces = [&](const char* kind) {
    std::vector<ParamPiece> named = parts.empty() ? std::vector<ParamPiece>{{prefix, out}} : parts;
    for (ParamPiece& piece : named) {
      piece.name += kind;
    }
    return named;
  };
  add_matrix(specs, prefix, out, in, pieces("weight"), block);
  if (bias) {
    add_bias(specs, prefix, out, pieces("bias"), block);
  }
}

void add_vector(std::vector<ParamSpec>& specs, const std::string& name, int64_t size, int block,
                ParamKind kind, Init init) {
  specs.push_back({name, {size}, {{name, size}}, block, kind, init});
}

void add_filters(std::vector<ParamSpec>& specs, const std::string& prefix, int64_t channels,
                 int64_t taps, bool bias, int block) {
  const std::string weight = prefix + "weight";
  specs.push_back(
      {weight, {channels, 1, taps}, {{weight, channels}}, block, ParamKind::filter, Init::normal});
  if (bias) {
    add_bias(specs, prefix, channels, {{prefix + "bias", channels}}, block);
  }
}

namespace {

// The norm "<prefix>weight" of `size` values; layer norms may have a bias.
void add_norm_of(std::vector<ParamSpec>& specs, const ModelConfig& c, const std::string& prefix,
                 int64_t size, int block, bool bias) {
  add_vector(specs, prefix + "weight", size, block, ParamKind::norm,
             c.norm.weight_offset == 0.0F ? Init::ones : Init::zeros);
  if (bias) {
    add_bias(specs, prefix, size, {{prefix + "bias", size}}, block);
  }
}

}  // namespace

void add_head(std::vector<ParamSpec>& specs, const ModelConfig& c) {
  add_norm_of(specs, c, fmt::format("{}.", c.form.last_norm), c.hidden, c.layers + 1,
              c.form.norm_bias);
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
  if (!name.empty()) {
    add_norm_of(specs, c, layer_prefix(layer) + name + ".", c.hidden, layer + 1, c.form.norm_bias);
  }
}

void add_attention(std::vector<ParamSpec>& specs, const ModelConfig& c, int layer) {
  const std::string prefix = layer_prefix(layer) + "self_attn.";
  const Heads heads = c.attention_heads(layer);
  const int64_t q = int64_t{heads.heads} * heads.head_dim;
  const int64_t asked = c.query_gates ? 2 * q : q;
  const int64_t kv = int64_t{heads.kv_heads} * heads.head_dim;
  const int block = layer + 1;
  std::vector<ParamPiece> parts;
  if (!c.form.one_qkv) {
    parts = {{prefix + "q_proj.", asked}, {prefix + "k_proj.", kv}, {prefix + "v_proj.", kv}};
  }
  add_linear(specs, prefix + "qkv_proj.", asked + 2 * kv, c.hidden, c.qkv_bias, block, parts);
  if (*c.form.query_norm != '\0') {
    const bool together = c.form.norms_heads_together;
    add_norm_of(specs, c, prefix + c.form.query_norm + ".", together ? q : heads.head_dim, block,
                false);
    add_norm_of(specs, c, prefix + c.form.key_norm + ".", together ? kv : heads.head_dim, block,
                false);
  }
  add_linear(specs, prefix + c.form.attention_output + ".", c.hidden, q, c.output_bias, block);
  if (c.sinks) {
    add_vector(specs, prefix + "sinks", c.heads, block, ParamKind::sink, Init::normal);
  }
}

void add_mlp(std::vector<ParamSpec>& specs, const ModelConfig& c, int layer,
             const std::string& module, int64_t intermediate) {
  const std::string prefix = layer_prefix(layer) + module + ".";
  const int block = layer + 1;
  if (*c.form.up != '\0') {
    add_linear(specs, prefix + c.form.up + ".", intermediate, c.hidden, c.mlp_bias, block);
  } else {
    std::vector<ParamPiece> parts;
    if (!c.form.one_gate_up) {
      parts = {{prefix + c.form.mlp_gate + ".", intermediate},
               {prefix + c.form.mlp_up + ".", intermediate}};
    }
    add_linear(specs, prefix + "gate_up_proj.", 2 * intermediate, c.hidden, c.mlp_bias, block,
               parts);
  }
  add_linear(specs, prefix + c.form.down + ".", c.hidden, intermediate, c.mlp_bias, block);
}

std::vector<ParamSpec> decoder_parameters(const ModelConfig& c) {
  std::vector<ParamSpec> specs;
  add_embedding(specs, c);
  for (int layer = 0; layer < c.layers; ++layer) {
    add_norm(specs, c, layer, c.form.attention_in);
    mixer_of(c, layer).add(specs, c, layer);
    add_norm(specs, c, layer, c.form.attention_out);
    add_norm(specs, c, layer, c.form.mlp_in);
    if (c.layer[static_cast<size_t>(layer)].experts) {
      add_experts(specs, c, layer);
    } else {
      add_mlp(specs, c, layer, c.form.mlp, c.wide(layer));
    }
    add_norm(specs, c, layer, c.form.mlp_out);
  }
  add_head(specs, c);
  return specs;
}

bool one_token_each(const Program& p, const ModelInputs& inputs) {
  return inputs.past && p.shape(inputs.past)[0] == p.shape(inputs.tokens)[0];
}

bool begins_text(const ModelInputs& inputs) { return inputs.past && inputs.longest > 0; }

Value kept_rows(Program& p, const ModelConfig& c, const ModelInputs& inputs, int layer, Value x) {
  return inputs.kept && !one_token_each(p, inputs) && layer + 1 == c.layers
             ? gather_rows(p, x, inputs.kept)
             : x;
}

namespace {

Value norm_heads(Program& p, const ModelConfig& c, const Weights& w, const std::string& prefix,
                 const Heads& heads, Value qkv) {
  if (*c.form.query_norm == '\0') {
    return qkv;
  }
  return qk_norm(p, qkv, w(prefix + c.form.query_norm + ".weight"),
                 w(prefix + c.form.key_norm + ".weight"), heads, c.norm);
}

// Of a projection whose queries have their gates behind them, head by head: qkv, and the gates.
ColumnSplit gated_queries(const Heads& h) {
  const int64_t d = h.head_dim;
  return {{{{{0, d, h.heads, 2 * d}, {2 * d * h.heads, 2 * d * h.kv_heads, 1, 0}}}},
          {{{{d, d, h.heads, 2 * d}}}}};
}

}  // namespace

Value attention_block(Program& p, const ModelConfig& c, const Weights& w, const ModelInputs& inputs,
                      const std::vector<Value>& tables, int layer, Value x) {
  const std::string prefix = layer_prefix(layer) + "self_attn.";
  const auto product = inputs.past ? few_rows_linear : linear;
  Value qkv = product(p, x, w.linear(prefix + "qkv_proj."));
  Value gates;
  if (c.query_gates) {
    std::tie(qkv, gates) = split_columns(p, qkv, gated_queries(c.attention_heads(layer)));
  }
  Value y = kept_rows(p, c, inputs, layer, attend(p, c, w, inputs, tables, layer, qkv));
  if (gates) {
    y = sigmoid_gate(p, y, kept_rows(p, c, inputs, layer, gates));
  }
  return product(p, y, w.linear(prefix + c.form.attention_output + "."));
}

Value attend(Program& p, const ModelConfig& c, const Weights& w, const ModelInputs& inputs,
             const std::vector<Value>& tables, int layer, Value qkv) {
  const std::string prefix = layer_prefix(layer) + "self_attn.";
  const ModelConfig::Layer& kind = c.at(layer);
  const Heads heads = c.attention_heads(layer);
  Attention options{heads, c.attention_scale, kind.window, inputs.longest, c.score_cap};
  if (inputs.dropout.keys && c.drops.attention > 0.0F) {
    options.dropout = {c.drops.attention, dropout_site(DropoutPlace::attention, layer),
                       inputs.dropout};
  }
  const Value sinks = w.optional(prefix + "sinks");
  const auto cache = [&] {
    return inputs.caches[static_cast<size_t>(kind.shares >= 0 ? kind.shares : layer)][0];
  };
  const auto rotated =
      kind.rope >= 0 ? c.ropes[static_cast<size_t>(kind.rope)].rotated() : int64_t{0};
  if (!c.form.norms_after_rope) {
    qkv = norm_heads(p, c, w, prefix, heads, qkv);
    if (!sinks && one_token_each(p, inputs) &&
        takes_step_attention(p, heads, rotated, c.interleaved_rope)) {
      const Value table = kind.rope >= 0 ? tables[static_cast<size_t>(kind.rope)] : Value{};
      return step_attention(p, qkv, table, rotated, cache(), inputs.past, options);
    }
  }
  if (kind.rope >= 0) {
    const auto index = static_cast<size_t>(kind.rope);
    qkv = rope(p, qkv, tables[index], {heads, c.interleaved_rope}, rotated);
  }
  if (c.form.norms_after_rope) {
    qkv = norm_heads(p, c, w, prefix, heads, qkv);
  }
  if (begins_text(inputs) && kind.shares < 0) {
    fill_cache(p, qkv, cache(), inputs.past);
  }
  return inputs.caches.empty() || begins_text(inputs)
             ? attention(p, qkv, inputs.tables[static_cast<size_t>(layer)], options, sinks)
             : cached_attention(p, qkv, cache(), inputs.past, options, sinks);
}

Value mlp_block(Program& p, const ModelConfig& c, const Weights& w, const ModelInputs& inputs,
                int layer, const std::string& module, Value x) {
  const std::string prefix = layer_prefix(layer) + module + ".";
  const Linear down = w.linear(prefix + c.form.down + ".");
  if (*c.form.up == '\0') {
    const auto mlp = inputs.past ? few_rows_mlp : gated_mlp;
    return mlp(p, x, w.linear(prefix + "gate_up_proj."), down, c.activation);
  }
  if (p.training() && p.memory().mlp_tile > 0) {
    throw Error("C171",
                "--mlp_tile computes the gated MLP of some tokens at a time, and this "
                "family's has no gate")
        .hint("leave --mlp_tile out");
  }
  const size_t first = p.instructions().size();
  const auto product = inputs.past ? few_rows_linear : linear;
  const Value wide = product(p, x, w.linear(prefix + c.form.up + "."));
  p.recompute_from(Recompute::mlp, first);
  return product(p, plain_activation(p, wide, c.activation), down);
}

std::vector<Value> rope_tables(Program& p, const ModelConfig& c, const ModelInputs& inputs) {
  std::vector<Value> tables;
  for (const RopeFrequencies& rope : c.ropes) {
    tables.push_back(rope_table(p, inputs.positions, inputs.documents, rope));
  }
  return tables;
}

Value norm_block(Program& p, const ModelConfig& c, const Weights& w, const std::string& prefix,
                 Value x) {
  if (prefix.empty()) {
    return x;
  }
  const Value weight = w(prefix + "weight");
  return c.form.layer_norm ? layer_norm(p, x, weight, w.optional(prefix + "bias"), c.norm.eps)
                           : rmsnorm(p, x, weight, c.norm);
}

std::pair<Value, Value> add_norm_block(Program& p, const ModelConfig& c, const Weights& w,
                                       const std::string& prefix, Value x, Value delta) {
  if (!delta) {
    return {x, norm_block(p, c, w, prefix, x)};
  }
  if (!prefix.empty() && !c.form.layer_norm && c.residual_scale == 1.0F) {
    return add_rmsnorm(p, x, delta, w(prefix + "weight"), c.norm);
  }
  const Value sum = add_scaled(p, x, delta, c.residual_scale);
  return {sum, norm_block(p, c, w, prefix, sum)};
}

Value decoder_forward(Program& p, const ModelConfig& c, const Weights& w,
                      const ModelInputs& given) {
  // The routers' auxiliary loss is about all tokens, in the last block as well.
  ModelInputs inputs = given;
  if (inputs.balance_loss) {
    inputs.kept = {};
  }
  if (joins_few_rows(p, c, w, inputs)) {
    return few_rows_forward(p, c, w, inputs);
  }
  Mixture mixture(p, c, w, inputs);
  const std::vector<Value> tables = rope_tables(p, c, inputs);
  Value x = embed(p, c, w, inputs);
  Value delta;  // what the block before has yet to add to x
  Value h;
  for (int layer = 0; layer < c.layers; ++layer) {
    const auto norm = [&](const char* name) {
      return *name == '\0' ? std::string() : layer_prefix(layer) + name + ".";
    };
    p.begin_block(layer);
    std::tie(x, h) = add_norm_block(p, c, w, norm(c.form.attention_in), x, delta);
    const Value read = h;
    delta = mixer_of(c, layer).block(p, c, w, inputs, tables, layer, h);
    delta = norm_block(p, c, w, norm(c.form.attention_out), delta);
    delta = dropped(p, inputs, delta, c.drops.residual, DropoutPlace::attention_output, layer);
    x = kept_rows(p, c, inputs, layer, x);
    std::tie(x, h) = add_norm_block(p, c, w, norm(c.form.mlp_in), x, delta);
    if (c.form.parallel) {
      h = kept_rows(p, c, inputs, layer, read);
    }
    delta = c.layer[static_cast<size_t>(layer)].experts
                ? mixture.block(layer, h)
                : mlp_block(p, c, w, inputs, layer, c.form.mlp, h);
    delta = norm_block(p, c, w, norm(c.form.mlp_out), delta);
    delta = dropped(p, inputs, delta, c.drops.residual, DropoutPlace::mlp_output, layer);
    p.end_block();
  }
  mixture.finish();
  h = add_norm_block(p, c, w, fmt::format("{}.", c.form.last_norm), x, delta).second;
  if (given.kept && given.balance_loss) {
    h = gather_rows(p, h, given.kept);
  }
  return c.logit_scale == 1.0F ? h : add_scaled(p, {}, h, c.logit_scale);
}

}  // namespace sft
