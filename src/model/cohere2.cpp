// Cohere's Command R7B and A: attention and MLP read the same layer norm, neighbours are turned in
// sliding layers and nothing in the others, logits are scaled.
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/families.h"

namespace sft {

namespace {

ModelConfig read(const Json& config) {
  const Json filled = with_defaults(config, {{"pad_token_id", 0},
                                             {"sliding_window", 4096},
                                             {"max_position_embeddings", 8192},
                                             {"logit_scale", 0.0625},
                                             {"tie_word_embeddings", true}});
  ModelConfig m = read_common(filled);
  m.form.mlp_in = "";
  m.form.parallel = true;
  m.form.layer_norm = true;
  m.norm.eps = static_cast<float>(real_or(config, "layer_norm_eps", 1e-5, {0, 1}));
  m.qkv_bias = m.output_bias = flag_or(config, "attention_bias", false);
  m.logit_scale = static_cast<float>(real(filled, "logit_scale", {1e-6, 1e6}));
  m.interleaved_rope = true;
  m.ropes = {read_rope(config, m.head_dim)};
  read_windows(filled, m, [](const Json& c, int layer) { return slides_by_pattern(c, layer, 4); });
  for (ModelConfig::Layer& layer : m.layer) {
    layer.rope = layer.window > 0 ? 0 : -1;
  }
  return m;
}

}  // namespace

Family cohere2_family() {
  return {"Cohere2ForCausalLM", "cohere2",       read,
          decoder_parameters,   decoder_forward, {{"Command R7B", 8.03}, {"Command A", 111.0}}};
}

}  // namespace sft
