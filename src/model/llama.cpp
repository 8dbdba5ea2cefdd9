// Llama 2 and 3.x, SmolLM2: transformers' LlamaForCausalLM.
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/families.h"

namespace sft {

namespace {

ModelConfig read(const Json& config) {
  ModelConfig m = read_common(config);
  m.qkv_bias = m.output_bias = flag_or(config, "attention_bias", false);
  m.mlp_bias = flag_or(config, "mlp_bias", false);
  m.ropes = {read_rope(config, m.head_dim)};
  return m;
}

std::vector<ParamSpec> parameters(const ModelConfig& c) { return prenorm_parameters(c, false); }

}  // namespace

Family llama_family() { return {"LlamaForCausalLM", "llama", read, parameters, prenorm_forward}; }

}  // namespace sft
