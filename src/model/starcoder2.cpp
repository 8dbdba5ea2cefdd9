// StarCoder2: layer norms with a bias, an MLP without a gate, biases everywhere.
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/families.h"

namespace sft {

namespace {

ModelConfig read(const Json& config) {
  const Json filled = with_defaults(config, {{"hidden_act", "gelu_pytorch_tanh"},
                                             {"num_key_value_heads", 2},
                                             {"initializer_range", 0.018042},
                                             {"max_position_embeddings", 4096},
                                             {"tie_word_embeddings", true}});
  ModelConfig m = read_common(filled);
  m.form.layer_norm = m.form.norm_bias = true;
  m.form.up = "c_fc";
  m.form.down = "c_proj";
  m.norm.eps = static_cast<float>(real_or(config, "norm_epsilon", 1e-5, {0, 1}));
  m.qkv_bias = m.output_bias = m.mlp_bias = flag_or(config, "use_bias", true);
  m.drops.residual = share_dropped(config, "residual_dropout");
  m.drops.embedding = share_dropped(config, "embedding_dropout");
  m.ropes = {read_rope(config, m.head_dim)};
  read_windows(config, m, [](const Json&, int) { return true; });
  return m;
}

}  // namespace

Family starcoder2_family() {
  return {"Starcoder2ForCausalLM",
          "starcoder2",
          read,
          decoder_parameters,
          decoder_forward,
          {{"StarCoder2", 3.03}, {"StarCoder2", 7.17}, {"StarCoder2", 16.0}}};
}

}  // namespace sft
