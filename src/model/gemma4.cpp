// Gemma 4's text part: sliding layers and full ones, whose heads have sizes of their own; values
// that are normed as keys are; the last layers look at keys and values of layers before them; each
// layer gets a vector of its token's word beside the hidden state. In some models routed experts
// stand beside each layer's MLP.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "core/error.h"
#include "core/json.h"
#include "core/numbers.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/experts.h"
#include "model/families.h"
#include "ops/add_scaled.h"
#include "ops/embedding.h"
#include "ops/few_rows.h"
#include "ops/gated_activation.h"
#include "ops/linear.h"
#include "ops/qk_norm.h"
#include "ops/rmsnorm.h"
#include "ops/scaled_sum.h"
#include "ops/split_columns.h"

namespace sft {

namespace {

constexpr const char* kWords = "model.embed_tokens_per_layer.weight";
constexpr const char* kWordsOfHidden = "model.per_layer_model_projection.";
constexpr const char* kWordNorm = "model.per_layer_projection_norm.";
// Norms of what the MLP gives, and of what experts read and give.
constexpr const char* kMlpOut = "post_feedforward_layernorm_1";
constexpr const char* kExpertsIn = "pre_feedforward_layernorm_2";
constexpr const char* kExpertsOut = "post_feedforward_layernorm_2";

constexpr Whole kHeads{1, 1 << 16}, kHeadDim{2, 1 << 16}, kWidth{0, 1 << 16};

// What published files leave out.
Json defaults() {
  return {{"head_dim", 256},
          {"num_attention_heads", 8},
          {"num_key_value_heads", 4},
          {"vocab_size", 262144},
          {"hidden_activation", "gelu_pytorch_tanh"},
          {"sliding_window", 512},
          {"tie_word_embeddings", true},
          {"max_position_embeddings", 131072},
          {"pad_token_id", 0},
          {"vocab_size_per_layer_input", 262144},
          {"hidden_size_per_layer_input", 256},
          {"rope_parameters",
           {{"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 10000.0}}},
            {"full_attention",
             {{"rope_type", "proportional"},
              {"partial_rotary_factor", 0.25},
              {"rope_theta", 1000000.0}}}}}};
}

bool is_full(const ModelConfig::Layer& layer) { return layer.rope == 0; }

// What stands in the config for some layers alone, as transformers 5 saves it; else full layers
// have sizes of their own, as models are published.
void read_heads(const Json& config, ModelConfig& m) {
  if (!present(config, "per_layer_config")) {
    const int wide = whole_or(config, "global_head_dim", 512, kHeadDim);
    const int fewer = flag_or(config, "attention_k_eq_v", false)
                          ? whole_or(config, "num_global_key_value_heads", m.kv_heads, kHeads)
                          : m.kv_heads;
    for (ModelConfig::Layer& layer : m.layer) {
      layer.head_dim = is_full(layer) ? wide : m.head_dim;
      layer.kv_heads = is_full(layer) ? fewer : m.kv_heads;
    }
    return;
  }
  const Json& by_layer = config["per_layer_config"];
  for (ModelConfig::Layer& layer : m.layer) {
    layer.head_dim = m.head_dim;
    layer.kv_heads = m.kv_heads;
  }
  for (const auto& [key, own] : by_layer.items()) {  // "05"
    const auto number = whole_number(key, 0, m.layers - 1);
    if (!number || !own.is_object()) {
      throw Error("M034", fmt::format("config.json: per_layer_config has \"{}\", which is no "
                                      "object for a layer from 0 to {}",
                                      key.substr(0, 80), m.layers - 1))
          .hint("use the folder of a whole model, as published or as saved by transformers");
    }
    ModelConfig::Layer& layer = m.layer[static_cast<size_t>(*number)];
    for (const auto& [field, value] : own.items()) {
      if (field != "head_dim" && field != "num_key_value_heads") {
        throw Error("M033", fmt::format("config.json: per_layer_config has \"{}\", which is not "
                                        "supported (head_dim and num_key_value_heads are)",
                                        field.substr(0, 80)));
      }
    }
    layer.head_dim = whole_or(own, "head_dim", layer.head_dim, kHeadDim);
    layer.kv_heads = whole_or(own, "num_key_value_heads", layer.kv_heads, kHeads);
  }
}

// Of full layers, or of sliding ones: all have the same, because they share a rope.
int head_dim_of(const ModelConfig& m, bool full) {
  const auto first = std::ranges::find(m.layer, full, is_full);
  return first == m.layer.end() ? m.head_dim : first->head_dim;
}

void check_heads(const ModelConfig& m) {
  for (int i = 0; i < m.layers; ++i) {
    const Heads heads = m.attention_heads(i);
    if (heads.heads % heads.kv_heads != 0 || heads.head_dim % 2 != 0 ||
        heads.head_dim != head_dim_of(m, is_full(m.at(i)))) {
      throw Error("M034",
                  fmt::format("config.json: layer {} has {} heads, {} key heads of {}, which do "
                              "not fit together, or not with the other layers of its kind",
                              i, heads.heads, heads.kv_heads, heads.head_dim));
    }
  }
}

// The last layers have no keys and values; each looks at those of the last layer of its kind before
// them.
void read_shared(const Json& config, ModelConfig& m) {
  const int count = whole_or(config, "num_kv_shared_layers", 0, {0, 1000});
  const bool twice = flag_or(config, "use_double_wide_mlp", false);
  for (int i = std::max(0, m.layers - count); i < m.layers; ++i) {
    ModelConfig::Layer& layer = m.layer[static_cast<size_t>(i)];
    for (int from = m.layers - count - 1; from >= 0 && layer.shares < 0; --from) {
      if (is_full(m.at(from)) == is_full(layer)) {
        layer.shares = from;
      }
    }
    if (layer.shares < 0 || m.attention_heads(layer.shares) != m.attention_heads(i)) {
      throw Error("M034",
                  fmt::format("config.json: \"num_kv_shared_layers\" is {}, which leaves no layer "
                              "whose keys and values layer {} could look at",
                              count, i))
          .hint("use the folder of a whole model, as published or as saved by transformers");
    }
    layer.intermediate = twice ? 2 * m.intermediate : 0;
  }
}

// Routed experts beside the MLP of every layer.
void read_routed(const Json& config, ModelConfig& m) {
  if (!flag_or(config, "enable_moe_block", false)) {
    return;
  }
  m.form.experts_block = m.form.experts_in = "";
  m.form.router = "router.proj";
  m.form.router_is_linear = true;
  m.form.experts_were_layers = false;
  constexpr Whole kCount{1, 1 << 14};
  read_experts(config, m, whole(config, "num_experts", kCount),
               whole(config, "top_k_experts", kCount), "top_k_experts");
  m.expert_intermediate = whole(config, "moe_intermediate_size", {1, 1 << 24});
  m.routing.normalise = true;
}

ModelConfig read(const Json& config) {
  Json filled = with_defaults(config, defaults());
  filled.erase("hidden_act");
  ModelConfig m = read_common(filled);
  // Pictures alone are looked at both ways where it is "vision".
  if (word(config, "use_bidirectional_attention", "vision") != "vision") {
    refuse_field(config, "use_bidirectional_attention");
  }
  m.qkv_bias = m.output_bias = flag_or(config, "attention_bias", false);
  m.form = kNormsOnBothSides;
  m.embedding_scale = std::sqrt(static_cast<float>(m.hidden));
  m.attention_scale = 1.0F;
  m.logit_cap = static_cast<float>(real_or(config, "final_logit_softcapping", 0.0, {0, 1e6}));
  read_windows(filled, m, [](const Json&, int layer) { return (layer + 1) % 6 != 0; });
  m.layer.back().window = 0;  // whatever layer_types says
  const bool keys_alone = flag_or(config, "attention_k_eq_v", false);
  for (ModelConfig::Layer& layer : m.layer) {
    layer.rope = layer.window > 0 ? 1 : 0;
    layer.values_are_keys = keys_alone && is_full(layer);
  }
  read_heads(config, m);
  check_heads(m);
  read_shared(config, m);
  read_routed(config, m);
  m.ropes =
      read_ropes_by_layer(filled, head_dim_of(m, true), Json::object(), head_dim_of(m, false));
  m.layer_word = whole(filled, "hidden_size_per_layer_input", kWidth);
  m.layer_words = whole(filled, "vocab_size_per_layer_input", {1, 1 << 24});
  m.layers_of_words = m.layers;
  if (m.layer_word > 0 && m.layer_words < m.vocab) {
    throw Error(
        "M034",
        fmt::format("config.json: \"vocab_size_per_layer_input\" is {}, it must be at least "
                    "\"vocab_size\", {}",
                    m.layer_words, m.vocab))
        .hint("use the folder of a whole model, as published or as saved by transformers");
  }
  return m;
}

// --- parameters ----------------------------------------------------------------------------------

void add_words(std::vector<ParamSpec>& specs, const ModelConfig& c) {
  const int64_t width = c.layers_of_words * c.layer_word;
  specs.push_back({kWords,
                   {c.layer_words, width},
                   {{kWords, c.layer_words}},
                   0,
                   ParamKind::matrix,
                   Init::normal,
                   true});
  add_linear(specs, kWordsOfHidden, width, c.hidden, false, 0);
  add_vector(specs, kWordNorm + std::string("weight"), c.layer_word, 0, ParamKind::norm,
             Init::ones);
}

void add_heads(std::vector<ParamSpec>& specs, const ModelConfig& c, int layer) {
  const std::string prefix = layer_prefix(layer) + "self_attn.";
  const ModelConfig::Layer& own = c.at(layer);
  const Heads heads = c.attention_heads(layer);
  const int64_t q = int64_t{heads.heads} * heads.head_dim;
  const int64_t kv = int64_t{heads.kv_heads} * heads.head_dim;
  const int block = layer + 1;
  std::vector<ParamPiece> parts{{prefix + "q_proj.", q}};
  int64_t rows = q;
  const auto add_part = [&](const char* name) {
    parts.push_back({prefix + name, kv});
    rows += kv;
  };
  const auto norm = [&](const char* name) {
    add_vector(specs, prefix + name, heads.head_dim, block, ParamKind::norm, Init::ones);
  };
  norm("q_norm.weight");
  if (own.shares < 0) {
    norm("k_norm.weight");
    add_part("k_proj.");
    if (!own.values_are_keys) {
      add_part("v_proj.");
    }
  }
  const std::string name = own.shares < 0 ? "qkv_proj." : "q_proj.";
  add_linear(specs, prefix + name, rows, c.hidden, c.qkv_bias, block, parts);
  add_linear(specs, prefix + "o_proj.", c.hidden, q, c.output_bias, block);
}

void add_routed(std::vector<ParamSpec>& specs, const ModelConfig& c, int layer) {
  const std::string router = layer_prefix(layer) + "router.";
  const int block = layer + 1;
  add_vector(specs, router + "scale", c.hidden, block, ParamKind::scale, Init::ones);
  add_vector(specs, router + "per_expert_scale", c.routing.experts, block, ParamKind::scale,
             Init::ones);
  add_experts(specs, c, layer);
  for (const char* name : {kMlpOut, kExpertsOut, kExpertsIn}) {
    add_norm(specs, c, layer, name);
  }
}

std::vector<ParamSpec> parameters(const ModelConfig& c) {
  std::vector<ParamSpec> specs;
  add_embedding(specs, c);
  if (c.layer_word > 0) {
    add_words(specs, c);
  }
  for (int layer = 0; layer < c.layers; ++layer) {
    add_heads(specs, c, layer);
    add_mlp(specs, c, layer, c.form.mlp, c.wide(layer));
    for (const char* name :
         {c.form.attention_in, c.form.attention_out, c.form.mlp_in, c.form.mlp_out}) {
      add_norm(specs, c, layer, name);
    }
    const std::string prefix = layer_prefix(layer);
    if (c.layer_word > 0) {
      add_linear(specs, prefix + "per_layer_input_gate.", c.layer_word, c.hidden, false, layer + 1);
      add_linear(specs, prefix + "per_layer_projection.", c.hidden, c.layer_word, false, layer + 1);
      add_norm(specs, c, layer, "post_per_layer_input_norm");
    }
    if (c.at(layer).experts) {
      add_routed(specs, c, layer);
    }
    add_vector(specs, prefix + "layer_scalar", 1, layer + 1, ParamKind::table, Init::ones);
    specs.back().trained = false;
  }
  add_head(specs, c);
  return specs;
}

// --- the forward pass ----------------------------------------------------------------------------

// What each layer gets of the words and of their embeddings x, each (tokens, layer_word).
std::vector<Value> words_of_layers(Program& p, const ModelConfig& c, const Weights& w,
                                   const ModelInputs& inputs, Value x) {
  if (c.layer_word == 0) {
    return {};
  }
  const float half = std::sqrt(0.5F);
  const Value words = embedding(p, inputs.tokens, w(kWords),
                                half * std::sqrt(static_cast<float>(c.layer_word)), c.padding);
  // The product is scaled by hidden^-0.5 before it is normed, which a norm takes back but for eps.
  RmsNorm norm = c.norm;
  norm.eps *= static_cast<float>(c.hidden);
  const auto product = inputs.past ? few_rows_linear : linear;
  const Value of_hidden = rmsnorm(p, product(p, x, w.linear(kWordsOfHidden)),
                                  w(kWordNorm + std::string("weight")), norm);
  return split_evenly(p, add_scaled(p, words, of_hidden, half), c.layers_of_words);
}

// One recording of a model's layers: keys and values that later ones look at, and experts.
class Layers {
 public:
  Layers(Program& p, const ModelConfig& c, const Weights& w, const ModelInputs& inputs)
      : p_(p),
        c_(c),
        w_(w),
        inputs_(inputs),
        mixture_(p, c, w, inputs),
        kept_(static_cast<size_t>(c.layers)) {}

  // x (tokens, hidden) -> the attention's output (the kept rows, hidden).
  Value attention(const std::vector<Value>& tables, int layer, Value x) {
    const Value qkv = c_.at(layer).shares < 0 ? own_heads(layer, x) : shared_heads(layer, x);
    const Value y = attend(p_, c_, w_, inputs_, tables, layer, qkv);
    return product(kept_rows(p_, c_, inputs_, layer, y), name(layer, "o_proj."));
  }

  // Of x (tokens, hidden) and its norm h what the MLP adds, and experts beside it.
  Value mlp(int layer, Value x, Value h) {
    const Value y = mlp_block(p_, c_, w_, inputs_, layer, c_.form.mlp, h);
    if (!c_.at(layer).experts) {
      return y;
    }
    const auto normed = [&](const char* name, Value v) {
      return norm_block(p_, c_, w_, layer_prefix(layer) + name + ".", v);
    };
    const Value scales = w_(layer_prefix(layer) + "router.per_expert_scale");
    const Value routed = mixture_.routed(layer, normed(kExpertsIn, x), scores(layer, x), scales);
    return add_scaled(p_, normed(kMlpOut, y), normed(kExpertsOut, routed), 1.0F);
  }

  Value product(Value x, const std::string& prefix) const {
    return (inputs_.past ? few_rows_linear : linear)(p_, x, w_.linear(prefix));
  }

 private:
  static std::string name(int layer, const char* what) {
    return layer_prefix(layer) + "self_attn." + what;
  }

  // The router's, of x as it is: (tokens, experts).
  Value scores(int layer, Value x) {
    const std::string router = layer_prefix(layer) + "router.";
    const Value read = rmsnorm(p_, x, w_(router + "scale"), c_.norm);
    const size_t first = p_.instructions().size();
    const Value product = linear(p_, read, w_.linear(router + "proj."));
    const float factor = 1.0F / std::sqrt(static_cast<float>(c_.hidden));
    const Value scores = add_scaled(p_, {}, product, factor);
    p_.recompute_from(Recompute::mlp, first);
    return scores;
  }

  Value own_heads(int layer, Value x) {
    const Heads heads = c_.attention_heads(layer);
    const int64_t q = int64_t{heads.heads} * heads.head_dim;
    const int64_t kv = int64_t{heads.kv_heads} * heads.head_dim;
    Value qkv = product(x, name(layer, "qkv_proj."));
    if (c_.at(layer).values_are_keys) {
      const auto [queries, keys] = split_at(qkv, q, kv);
      qkv = join_columns(p_, {queries, keys, keys});
    }
    qkv = qk_norm(p_, qkv, w_(name(layer, "q_norm.weight")), w_(name(layer, "k_norm.weight")),
                  heads, c_.norm, true);
    if (std::ranges::any_of(c_.layer, [&](const auto& other) { return other.shares == layer; })) {
      kept_[static_cast<size_t>(layer)] = split_at(qkv, q, 2 * kv).second;
    }
    return qkv;
  }

  Value shared_heads(int layer, Value x) {
    const Value queries =
        rmsnorm(p_, product(x, name(layer, "q_proj.")), w_(name(layer, "q_norm.weight")), c_.norm);
    return join_columns(p_, {queries, kept_[static_cast<size_t>(c_.at(layer).shares)]});
  }

  std::pair<Value, Value> split_at(Value x, int64_t first, int64_t second) {
    return split_columns(p_, x, {{{{{0, first, 1, first}}}}, {{{{first, second, 1, second}}}}});
  }

  Program& p_;
  const ModelConfig& c_;
  const Weights& w_;
  const ModelInputs& inputs_;
  Mixture mixture_;
  std::vector<Value> kept_;  // by layer, before the rotation
};

Value forward(Program& p, const ModelConfig& c, const Weights& w, const ModelInputs& inputs) {
  const std::vector<Value> tables = rope_tables(p, c, inputs);
  Value x = embed(p, c, w, inputs);
  const std::vector<Value> words = words_of_layers(p, c, w, inputs, x);
  Layers layers(p, c, w, inputs);
  Value h;
  for (int layer = 0; layer < c.layers; ++layer) {
    const std::string prefix = layer_prefix(layer);
    const auto norm = [&](const char* name) { return prefix + name + "."; };
    p.begin_block(layer);
    h = norm_block(p, c, w, norm(c.form.attention_in), x);
    Value delta = layers.attention(tables, layer, h);
    delta = norm_block(p, c, w, norm(c.form.attention_out), delta);
    x = kept_rows(p, c, inputs, layer, x);
    std::tie(x, h) = add_norm_block(p, c, w, norm(c.form.mlp_in), x, delta);
    delta = layers.mlp(layer, x, h);
    delta = norm_block(p, c, w, norm(c.form.mlp_out), delta);
    if (c.layer_word > 0) {
      x = add_scaled(p, x, delta, 1.0F);
      const Value gate = layers.product(x, norm("per_layer_input_gate"));
      const Value word = kept_rows(p, c, inputs, layer, words[static_cast<size_t>(layer)]);
      const Value open = gated_activation(p, join_columns(p, {gate, word}), c.activation);
      delta = layers.product(open, norm("per_layer_projection"));
      delta = norm_block(p, c, w, norm("post_per_layer_input_norm"), delta);
    }
    x = scaled_sum(p, x, delta, w(prefix + "layer_scalar"));
    p.end_block();
  }
  return norm_block(p, c, w, fmt::format("{}.", c.form.last_norm), x);
}

}  // namespace

Family gemma4_family() {
  return {
      "Gemma4ForCausalLM",
      "gemma4_text",
      read,
      parameters,
      forward,
      {{"Gemma 4 E2B", 4.63}, {"Gemma 4 E4B", 7.46}, {"Gemma 4 26B-A4B", 25.2}, {"Gemma 4", 30.7}},
      {"q_proj", "v_proj"}};
}

}  // namespace sft
