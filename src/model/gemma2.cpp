// Gemma 2: norms before and after attention and MLP that multiply by 1 + weight, scaled embeddings,
// a sliding window in every other layer, soft caps of scores and logits.
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
          {"hidden_activation", "gelu_pytorch_tanh"},
          {"sliding_window", 4096},
          {"tie_word_embeddings", true},
          {"max_position_embeddings", 8192},
          {"pad_token_id", 0},
          {"query_pre_attn_scalar", 256},
          {"attn_logit_softcapping", 50.0},
          {"final_logit_softcapping", 30.0}};
}

ModelConfig read(const Json& config) {
  Json filled = with_defaults(config, defaults());
  filled.erase("hidden_act");
  ModelConfig m = read_common(filled);
  refuse_field(config, "use_bidirectional_attention");
  m.form = kNormsOnBothSides;
  m.qkv_bias = m.output_bias = flag_or(config, "attention_bias", false);
  m.norm.weight_offset = 1.0F;
  m.embedding_scale = std::sqrt(static_cast<float>(m.hidden));
  m.attention_scale =
      static_cast<float>(1.0 / std::sqrt(real(filled, "query_pre_attn_scalar", {1e-6, 1e9})));
  m.score_cap = static_cast<float>(real_or(filled, "attn_logit_softcapping", 0.0, {0, 1e6}));
  m.logit_cap = static_cast<float>(real_or(filled, "final_logit_softcapping", 0.0, {0, 1e6}));
  m.ropes = {read_rope(config, m.head_dim)};
  read_windows(filled, m, [](const Json&, int layer) { return layer % 2 == 0; });
  return m;
}

}  // namespace

Family gemma2_family() {
  return {"Gemma2ForCausalLM",
          "gemma2",
          read,
          decoder_parameters,
          decoder_forward,
          {{"Gemma 2", 2.61}, {"Gemma 2", 9.24}, {"Gemma 2", 27.2}},
          {"q_proj", "v_proj"}};
}

}  // namespace sft
