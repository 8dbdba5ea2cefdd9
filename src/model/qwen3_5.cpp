// Qwen3.5's text part: three layers of linear attention (the gated delta rule) to one of attention,
// whose heads have a gate each; norms multiply by 1 + weight, and a quarter of a head is turned.
#include "core/error.h"
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/families.h"
#include "model/mixers.h"

namespace sft {

namespace {

ModelConfig read(const Json& given) {
  const Json config = with_defaults(given, {{"num_key_value_heads", 4},
                                            {"head_dim", 256},
                                            {"max_position_embeddings", 32768},
                                            {"partial_rotary_factor", 0.25}});
  ModelConfig m = read_common(config);
  m.qkv_bias = m.output_bias = flag_or(config, "attention_bias", false);
  m.form.query_norm = "q_norm";
  m.form.key_norm = "k_norm";
  m.norm.weight_offset = 1.0F;
  m.query_gates = true;
  m.ropes = {read_rope(config, m.head_dim, true)};
  read_delta(config, m);
  const int interval = whole_or(config, "full_attention_interval", 4, {1, 1000});
  read_mixers(config, m, "linear_attention", Mixer::gated_delta,
              [&](int layer) { return (layer + 1) % interval != 0; });
  if (!flag_or(config, "attn_output_gate", true)) {
    throw Error("M033", "config.json: \"attn_output_gate\": false is not supported, only true is")
        .hint("take another model");
  }
  return m;
}

}  // namespace

Family qwen3_5_family() {
  return {"Qwen3_5ForCausalLM",
          "qwen3_5_text",
          read,
          decoder_parameters,
          decoder_forward,
          {{"Qwen3.5", 0.752},
           {"Qwen3.5", 1.88},
           {"Qwen3.5", 4.21},
           {"Qwen3.5", 8.95},
           {"Qwen3.5", 26.9}}};
}

}  // namespace sft
