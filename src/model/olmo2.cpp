// OLMo 2: norms behind attention and MLP, and of all query heads and all key heads together.
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/families.h"

namespace sft {

namespace {

ModelConfig read(const Json& config) {
  const Json filled = with_defaults(config, {{"pad_token_id", 1}, {"rms_norm_eps", 1e-5}});
  ModelConfig m = read_common(filled);
  m.form = kNormsBehind;
  m.form.norms_heads_together = true;
  m.qkv_bias = m.output_bias = flag_or(config, "attention_bias", false);
  m.ropes = {read_rope(config, m.head_dim)};
  return m;
}

}  // namespace

Family olmo2_family() {
  return {"Olmo2ForCausalLM",
          "olmo2",
          read,
          decoder_parameters,
          decoder_forward,
          {{"OLMo 2", 1.48}, {"OLMo 2", 7.3}, {"OLMo 2", 13.7}, {"OLMo 2", 32.2}}};
}

}  // namespace sft
