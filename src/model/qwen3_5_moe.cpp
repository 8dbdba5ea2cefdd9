// Qwen3.5 with experts in the place of MLPs: its text part. As Qwen3-Next, but for how the layers
// of the gated delta rule are projected.
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
      given, {{"num_key_value_heads", 2}, {"head_dim", 256}, {"intermediate_size", 512}});
  ModelConfig m = read_delta_decoder(config);
  m.form.experts_were_layers = false;  // published in one tensor
  read_experts(config, m, 256, 8);
  m.expert_intermediate = whole_or(config, "moe_intermediate_size", 512, {1, 1 << 24});
  read_shared_expert(config, m, 512);
  m.routing.normalise = true;
  read_balance(config, m, 0.001);
  return m;
}

}  // namespace

Family qwen3_5_moe_family() {
  return {"Qwen3_5MoeForCausalLM",
          "qwen3_5_moe_text",
          read,
          decoder_parameters,
          decoder_forward,
          {{"Qwen3.5", 34.7}, {"Qwen3.5", 122.0}, {"Qwen3.5", 396.0}}};
}

}  // namespace sft
