// Qwen3: a norm on each query and key head, and a head size of its own.
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/families.h"

namespace sft {

namespace {

ModelConfig read(const Json& config) {
  // transformers' head size, whatever the hidden size.
  ModelConfig m = read_common(with_defaults(config, {{"head_dim", 128}}));
  m.qkv_bias = m.output_bias = flag_or(config, "attention_bias", false);
  m.form.query_norm = "q_norm";
  m.form.key_norm = "k_norm";
  m.ropes = {read_rope(config, m.head_dim)};
  read_windows(config, m, slides_as_qwen);
  return m;
}

}  // namespace

Family qwen3_family() {
  return {"Qwen3ForCausalLM",
          "qwen3",
          read,
          decoder_parameters,
          decoder_forward,
          {{"Qwen3", 0.596},
           {"Qwen3", 1.72},
           {"Qwen3", 4.02},
           {"Qwen3", 8.19},
           {"Qwen3", 14.8},
           {"Qwen3", 32.8}},
          {"q_proj", "v_proj"}};
}

}  // namespace sft
