// GLM-4 of 2025: norms on both sides, gate and up as one tensor, and neighbours turned in the first
// half of each head.
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/families.h"

namespace sft {

namespace {

ModelConfig read(const Json& config) {
  const Json filled = with_defaults(config, {{"head_dim", 128},
                                             {"num_key_value_heads", 2},
                                             {"attention_bias", true},
                                             {"partial_rotary_factor", 0.5},
                                             {"rms_norm_eps", 0.00000015625},
                                             {"pad_token_id", 151329},
                                             {"max_position_embeddings", 131072}});
  ModelConfig m = read_common(filled);
  m.form.attention_out = "post_self_attn_layernorm";
  m.form.mlp_out = "post_mlp_layernorm";
  m.form.one_gate_up = true;
  m.qkv_bias = flag_or(filled, "attention_bias", true);
  m.interleaved_rope = true;
  m.ropes = {read_rope(filled, m.head_dim, true)};
  return m;
}

}  // namespace

Family glm4_family() {
  return {"Glm4ForCausalLM",  "glm4",          read,
          decoder_parameters, decoder_forward, {{"GLM-4-0414", 9.4}, {"GLM-4-0414", 32.6}}};
}

}  // namespace sft
