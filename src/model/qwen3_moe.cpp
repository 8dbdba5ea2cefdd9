// Qwen3-MoE: Qwen3 with experts in the place of MLPs, in all layers or in some.
#include "core/json.h"
#include "core/numbers.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/experts.h"
#include "model/families.h"

namespace sft {

namespace {

ModelConfig read(const Json& given) {
  const Json config = with_defaults(given, {{"num_key_value_heads", 4}});
  ModelConfig m = read_common(config);
  m.qkv_bias = m.output_bias = flag_or(config, "attention_bias", false);
  m.form.query_norm = "q_norm";
  m.form.key_norm = "k_norm";
  m.ropes = {read_rope(config, m.head_dim)};
  // transformers slides in every layer where it slides at all.
  const int window = whole_or(config, "sliding_window", 4096, {0, kMostCount});
  for (ModelConfig::Layer& layer : m.layer) {
    layer.window = flag_or(config, "use_sliding_window", false) ? window : 0;
  }
  m.form.experts_first = true;
  read_experts(config, m, 128, 8);
  m.expert_intermediate = whole_or(config, "moe_intermediate_size", 768, {1, 1 << 24});
  m.routing.normalise = flag_or(config, "norm_topk_prob", false);
  read_balance(config, m, 0.001);
  read_dense_layers(config, m);
  return m;
}

}  // namespace

Family qwen3_moe_family() {
  return {"Qwen3MoeForCausalLM", "qwen3_moe",     read,
          decoder_parameters,    decoder_forward, {{"Qwen3-MoE", 30.5}, {"Qwen3-MoE", 235.0}}};
}

}  // namespace sft
