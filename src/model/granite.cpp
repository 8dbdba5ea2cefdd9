// Granite 3: Llama with four multipliers: of embeddings, scores, what is added, and logits.
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
  const auto factor = [&](const char* field) { return real_or(config, field, 1.0, {1e-6, 1e6}); };
  m.embedding_scale = static_cast<float>(factor("embedding_multiplier"));
  m.attention_scale = static_cast<float>(factor("attention_multiplier"));
  m.residual_scale = static_cast<float>(factor("residual_multiplier"));
  m.logit_scale = static_cast<float>(1.0 / factor("logits_scaling"));
  m.ropes = {read_rope(config, m.head_dim)};
  return m;
}

}  // namespace

Family granite_family() {
  return {"GraniteForCausalLM", "granite",       read,
          decoder_parameters,   decoder_forward, {{"Granite 3.3", 2.53}, {"Granite 3.3", 8.17}}};
}

}  // namespace sft
