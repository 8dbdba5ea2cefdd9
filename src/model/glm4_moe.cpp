// GLM-4.5: experts behind a few dense layers, one of them for all tokens, and a router that takes
// each score by itself and chooses by corrected ones.
#include <fmt/format.h>

#include "core/error.h"
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/experts.h"
#include "model/families.h"

namespace sft {

namespace {

constexpr Whole kCount{1, 1 << 14};

// How experts are chosen: DeepSeek-V3's router.
void read_routing(const Json& config, Routing& r) {
  r.scores = Routing::Scores::sigmoid;
  r.corrected = true;
  r.normalise = flag_or(config, "norm_topk_prob", true);
  r.scale = static_cast<float>(real_or(config, "routed_scaling_factor", 1.0, {0, 1e6}));
  r.groups = whole_or(config, "n_group", 1, kCount);
  r.chosen_groups = whole_or(config, "topk_group", 1, kCount);
  // A group's worth is that of its two best.
  const bool even = r.experts % r.groups == 0 && r.experts / r.groups >= 2;
  if (!even || r.chosen_groups > r.groups || r.chosen > r.experts / r.groups * r.chosen_groups) {
    throw Error("M034", fmt::format("config.json: {} experts in {} groups, of which {} are looked "
                                    "at for {} experts a token, do not fit together",
                                    r.experts, r.groups, r.chosen_groups, r.chosen))
        .hint("use the folder of a whole model, as published or as saved by transformers");
  }
}

ModelConfig read(const Json& given) {
  Json config = with_defaults(given, {{"rms_norm_eps", 1e-5},
                                      {"max_position_embeddings", 131072},
                                      {"partial_rotary_factor", 0.5},
                                      {"n_routed_experts", 128}});
  config["num_local_experts"] = config["n_routed_experts"];
  ModelConfig m = read_common(config);
  m.qkv_bias = flag_or(config, "attention_bias", false);
  if (flag_or(config, "use_qk_norm", false)) {
    m.form.query_norm = "q_norm";
    m.form.key_norm = "k_norm";
  }
  m.ropes = {read_rope(config, m.head_dim, true)};
  m.form.experts_first = true;
  read_experts(config, m, 128, 8);
  read_routing(config, m.routing);
  m.expert_intermediate = whole_or(config, "moe_intermediate_size", 1408, {1, 1 << 20});
  m.shared_intermediate =
      m.expert_intermediate * whole_or(config, "n_shared_experts", 1, {0, 1 << 10});
  const int dense = whole_or(config, "first_k_dense_replace", 1, {0, 1000});
  for (int i = 0; i < m.layers; ++i) {
    m.layer[static_cast<size_t>(i)].experts = i >= dense;
  }
  return m;
}

}  // namespace

Family glm4_moe_family() {
  return {"Glm4MoeForCausalLM", "glm4_moe",      read,
          decoder_parameters,   decoder_forward, {{"GLM-4.5-Air", 106.9}, {"GLM-4.5", 352.8}}};
}

}  // namespace sft
