// OLMoE: a norm over all queries and one over all keys, and experts in the place of MLPs.
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/experts.h"
#include "model/families.h"

namespace sft {

namespace {

ModelConfig read(const Json& given) {
  const Json config = with_defaults(
      given, {{"rms_norm_eps", 1e-5}, {"max_position_embeddings", 4096}, {"pad_token_id", 1}});
  refuse_field(config, "clip_qkv");
  ModelConfig m = read_common(config);
  m.qkv_bias = m.output_bias = flag_or(config, "attention_bias", false);
  m.form.query_norm = "q_norm";
  m.form.key_norm = "k_norm";
  m.form.norms_heads_together = true;
  m.ropes = {read_rope(config, m.head_dim)};
  read_experts(config, m, 64, 8);
  read_balance(config, m, 0.01);
  m.routing.normalise = flag_or(config, "norm_topk_prob", false);
  return m;
}

}  // namespace

Family olmoe_family() {
  return {"OlmoeForCausalLM", "olmoe",         read,
          decoder_parameters, decoder_forward, {{"OLMoE", 6.92}}};
}

}  // namespace sft
