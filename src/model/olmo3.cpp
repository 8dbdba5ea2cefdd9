// OLMo 3: OLMo 2 with a sliding window in three layers of four, whose rope is not stretched.
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/families.h"

namespace sft {

namespace {

ModelConfig read(const Json& config) {
  const Json filled = with_defaults(config, {{"pad_token_id", 1},
                                             {"rms_norm_eps", 1e-5},
                                             {"sliding_window", 4096},
                                             {"rope_theta", 500000.0}});
  ModelConfig m = read_common(filled);
  m.form = kNormsBehind;
  m.form.norms_heads_together = true;
  m.qkv_bias = m.output_bias = flag_or(config, "attention_bias", false);
  m.ropes = read_ropes_by_layer(filled, m.head_dim, Json::object());
  read_windows(filled, m, [](const Json&, int layer) { return (layer + 1) % 4 != 0; });
  for (ModelConfig::Layer& layer : m.layer) {
    layer.rope = layer.window > 0 ? 1 : 0;
  }
  return m;
}

}  // namespace

Family olmo3_family() {
  return {"Olmo3ForCausalLM", "olmo3",         read,
          decoder_parameters, decoder_forward, {{"Olmo 3", 7.3}, {"Olmo 3", 32.2}}};
}

}  // namespace sft
