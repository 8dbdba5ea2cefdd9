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

}  // namespace

Family llama_family() {
  return {"LlamaForCausalLM",
          "llama",
          read,
          decoder_parameters,
          decoder_forward,
          {{"Llama 3.2", 1.24},
           {"Llama 3.2", 3.21},
           {"Llama 3.1", 8.03},
           {"Llama 3.3", 70.6},
           {"SmolLM2", 0.135},
           {"SmolLM2", 1.71}},
          {"q_proj", "v_proj"}};
}

}  // namespace sft
