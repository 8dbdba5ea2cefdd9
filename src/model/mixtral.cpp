// Mixtral: Mistral with experts in the place of MLPs, whose weights are shared out among the
// chosen.
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/experts.h"
#include "model/families.h"

namespace sft {

namespace {

ModelConfig read(const Json& given) {
  const Json config = with_defaults(given, {{"num_key_value_heads", 8},
                                            {"rms_norm_eps", 1e-5},
                                            {"max_position_embeddings", 131072},
                                            {"rope_theta", 1e6}});
  if (real_or(config, "router_jitter_noise", 0.0, {0, 1}) != 0.0) {
    refuse_field(config, "router_jitter_noise");
  }
  ModelConfig m = read_common(config);
  m.form.experts_in = "block_sparse_moe.";
  m.form.expert_gate = "w1";
  m.form.expert_up = "w3";
  m.form.expert_down = "w2";
  m.ropes = {read_rope(config, m.head_dim)};
  read_windows(config, m, [](const Json&, int) { return true; });
  read_experts(config, m, 8, 2);
  read_balance(config, m, 0.001);
  m.routing.normalise = true;
  return m;
}

}  // namespace

Family mixtral_family() {
  return {"MixtralForCausalLM", "mixtral",       read,
          decoder_parameters,   decoder_forward, {{"Mixtral", 46.7}, {"Mixtral", 141.0}},
          {"q_proj", "v_proj"}};
}

}  // namespace sft
