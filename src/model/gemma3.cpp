// Gemma 3's text part: norms before and after attention and MLP that multiply by 1 + weight, scaled
// embeddings, and two kinds of layers, each with its own rope: sliding and global.
#include <cmath>

#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/families.h"

namespace sft {

namespace {

// What published files leave out.
Json defaults() {
  return {{"head_dim", 256},
          {"num_attention_heads", 8},
          {"num_key_value_heads", 4},
          {"vocab_size", 262208},
          {"hidden_activation", "gelu_pytorch_tanh"},
          {"sliding_window", 4096},
          {"tie_word_embeddings", true},
          {"max_position_embeddings", 131072},
          {"pad_token_id", 0},
          {"query_pre_attn_scalar", 256}};
}

ModelConfig read(const Json& config) {
  Json filled = with_defaults(config, defaults());
  filled.erase("hidden_act");
  if (!config.contains("rope_parameters")) {
    filled = with_defaults(filled, {{"rope_theta", 1000000.0}});
  }
  ModelConfig m = read_common(filled);
  refuse_field(config, "use_bidirectional_attention");
  m.form = kNormsOnBothSides;
  m.form.query_norm = "q_norm";
  m.form.key_norm = "k_norm";
  m.qkv_bias = m.output_bias = flag_or(config, "attention_bias", false);
  m.norm.weight_offset = 1.0F;
  m.embedding_scale = std::sqrt(static_cast<float>(m.hidden));
  m.attention_scale =
      1.0F / std::sqrt(static_cast<float>(real(filled, "query_pre_attn_scalar", {1e-6, 1e9})));
  m.score_cap = static_cast<float>(real_or(config, "attn_logit_softcapping", 0.0, {0, 1e6}));
  m.logit_cap = static_cast<float>(real_or(config, "final_logit_softcapping", 0.0, {0, 1e6}));
  m.ropes = read_ropes_by_layer(
      filled, m.head_dim,
      {{"rope_theta", real_or(config, "rope_local_base_freq", 10000.0, {1, 1e15})}});
  read_windows(filled, m, [](const Json& c, int layer) { return slides_by_pattern(c, layer, 6); });
  for (ModelConfig::Layer& layer : m.layer) {
    layer.rope = layer.window > 0 ? 1 : 0;
  }
  return m;
}

}  // namespace

Family gemma3_family() {
  return {"Gemma3ForCausalLM",
          "gemma3_text",
          read,
          decoder_parameters,
          decoder_forward,
          {{"Gemma 3", 0.268},
           {"Gemma 3", 1.0},
           {"Gemma 3", 3.88},
           {"Gemma 3", 11.8},
           {"Gemma 3", 27.0}},
          {"q_proj", "v_proj"}};
}

}  // namespace sft
