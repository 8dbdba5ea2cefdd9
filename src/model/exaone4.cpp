// EXAONE 4: norms behind attention and MLP and of heads; where some layers slide, the others turn
// nothing.
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/families.h"

namespace sft {

namespace {

// "LLLG" is written for 4 in some files, and those list every layer's type.
bool slides(const Json& config, int layer) {
  return present(config, "sliding_window") && slides_by_pattern(config, layer, 4);
}

ModelConfig read(const Json& config) {
  const Json filled = with_defaults(
      config, {{"num_key_value_heads", 32}, {"rms_norm_eps", 1e-5}, {"sliding_window", 4096}});
  ModelConfig m = read_common(filled);
  m.form = kNormsBehind;
  m.ropes = {read_rope(config, m.head_dim)};
  read_windows(filled, m, slides);
  const bool hybrid = present(filled, "sliding_window");
  for (ModelConfig::Layer& layer : m.layer) {
    layer.rope = hybrid && layer.window == 0 ? -1 : 0;
  }
  return m;
}

}  // namespace

Family exaone4_family() {
  return {"Exaone4ForCausalLM", "exaone4",       read,
          decoder_parameters,   decoder_forward, {{"EXAONE 4.0", 1.28}, {"EXAONE 4.0", 32.0}}};
}

}  // namespace sft
