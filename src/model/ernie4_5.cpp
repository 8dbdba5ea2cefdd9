// ERNIE 4.5, the dense models: Llama with neighbours turned.
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/families.h"

namespace sft {

namespace {

ModelConfig read(const Json& config) {
  const Json filled = with_defaults(config, {{"head_dim", 128},
                                             {"num_key_value_heads", 2},
                                             {"rms_norm_eps", 1e-5},
                                             {"pad_token_id", 0},
                                             {"rope_theta", 500000.0},
                                             {"max_position_embeddings", 131072},
                                             {"tie_word_embeddings", true}});
  ModelConfig m = read_common(filled);
  m.drops = {};  // transformers draws none here, whatever the file says
  m.qkv_bias = m.output_bias = m.mlp_bias = flag_or(config, "use_bias", false);
  m.interleaved_rope = true;
  m.ropes = {read_rope(filled, m.head_dim)};
  return m;
}

}  // namespace

Family ernie4_5_family() {
  return {"Ernie4_5ForCausalLM", "ernie4_5",      read,
          decoder_parameters,    decoder_forward, {{"ERNIE 4.5", 0.361}}};
}

}  // namespace sft
