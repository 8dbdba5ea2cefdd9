// Qwen3-Next: layers of the gated delta rule, projected key head by key head, between those of
// gated attention; experts in the place of MLPs, one of them for all tokens and with a gate.
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/experts.h"
#include "model/families.h"
#include "model/mixers.h"

namespace sft {

namespace {

ModelConfig read(const Json& given) {
  const Json config = with_defaults(
      given, {{"num_key_value_heads", 2}, {"head_dim", 256}, {"intermediate_size", 5632}});
  ModelConfig m = read_delta_decoder(config);
  m.delta.by_key_head = true;
  read_experts(config, m, 512, 10);
  m.expert_intermediate = whole_or(config, "moe_intermediate_size", 512, {1, 1 << 24});
  read_shared_expert(config, m, 512);
  m.routing.normalise = flag_or(config, "norm_topk_prob", true);
  read_balance(config, m, 0.001);
  read_dense_layers(config, m);
  return m;
}

}  // namespace

Family qwen3_next_family() {
  return {"Qwen3NextForCausalLM", "qwen3_next",    read,
          decoder_parameters,     decoder_forward, {{"Qwen3-Next", 79.7}}};
}

}  // namespace sft
