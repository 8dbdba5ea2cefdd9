// gpt-oss: experts in every layer with a clamped activation of their own, attention sinks, biases,
// and a window in every other layer.
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/experts.h"
#include "model/families.h"

namespace sft {

namespace {

constexpr double kMost = 1e6;  // of the activation's two numbers

// What transformers' GptOssConfig fills in: the 120B model's.
Json filled(const Json& config) {
  Json out = with_defaults(config, {{"vocab_size", 201088},
                                    {"hidden_size", 2880},
                                    {"intermediate_size", 2880},
                                    {"num_hidden_layers", 36},
                                    {"num_attention_heads", 64},
                                    {"num_key_value_heads", 8},
                                    {"head_dim", 64},
                                    {"sliding_window", 128},
                                    {"max_position_embeddings", 131072},
                                    {"rms_norm_eps", 1e-5},
                                    {"rope_theta", 150000.0}});
  if (!present(out, "rope_parameters") && !present(out, "rope_scaling")) {
    out["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", 32.0},
                           {"beta_fast", 32.0},   {"beta_slow", 1.0},
                           {"truncate", false},   {"original_max_position_embeddings", 4096}};
  }
  return out;
}

ModelConfig read(const Json& given) {
  const Json config = filled(given);
  ModelConfig m = read_common(config);
  m.qkv_bias = m.output_bias = flag_or(config, "attention_bias", true);
  m.sinks = true;
  m.form.router = "router";
  m.form.experts_as_one = true;
  m.form.experts_were_layers = false;
  m.router_bias = true;
  m.ropes = {read_rope(config, m.head_dim)};
  read_windows(config, m, [](const Json&, int layer) { return layer % 2 == 0; });
  read_experts(config, m, 128, 4);
  read_balance(config, m, 0.001);
  m.routing.normalise = true;
  m.clamped =
      ClampedGlu{static_cast<float>(real_or(config, "swiglu_alpha", 1.702, {-kMost, kMost})),
                 static_cast<float>(real_or(config, "swiglu_limit", 7.0, {0.0, kMost}))};
  return m;
}

}  // namespace

Family gpt_oss_family() {
  return {"GptOssForCausalLM", "gpt_oss",       read,
          decoder_parameters,  decoder_forward, {{"gpt-oss", 20.9}, {"gpt-oss", 116.8}}};
}

}  // namespace sft
