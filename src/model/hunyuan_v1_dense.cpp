// Hunyuan, the dense models: Llama with norms of queries and keys after they are turned.
#include <cmath>

#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/families.h"

namespace sft {

namespace {

// A rope that is called dynamic and has an alpha is a plain one with a larger base.
Json with_fixed_base(Json config, int head_dim) {
  for (const char* field : {"rope_scaling", "rope_parameters"}) {
    if (!present(config, field) || !config[field].is_object()) {
      continue;
    }
    const Json& rope = config[field];
    const double alpha = real_or(rope, "alpha", 0.0, {0, 1e9});
    if (word(rope, "rope_type", word(rope, "type", "")) == "dynamic" && alpha != 0.0) {
      const double theta =
          real_or(rope, "rope_theta", real_or(config, "rope_theta", 10000.0, {1, 1e15}), {1, 1e15});
      const double power = head_dim / (head_dim - 2.0);
      config[field] = {{"rope_type", "default"}, {"rope_theta", theta * std::pow(alpha, power)}};
    }
  }
  return config;
}

ModelConfig read(const Json& config) {
  const Json filled = with_defaults(config, {{"rms_norm_eps", 1e-5}, {"pad_token_id", 0}});
  ModelConfig m = read_common(filled);
  m.form.query_norm = "query_layernorm";
  m.form.key_norm = "key_layernorm";
  m.form.norms_after_rope = true;
  m.qkv_bias = m.output_bias = flag_or(config, "attention_bias", false);
  m.ropes = {read_rope(with_fixed_base(filled, m.head_dim), m.head_dim)};
  return m;
}

}  // namespace

Family hunyuan_v1_dense_family() {
  return {"HunYuanDenseV1ForCausalLM",
          "hunyuan_v1_dense",
          read,
          decoder_parameters,
          decoder_forward,
          {{"Hunyuan", 0.539}, {"Hunyuan", 1.79}, {"Hunyuan", 4.02}, {"Hunyuan", 7.5}}};
}

}  // namespace sft
