// Seed-OSS: Llama with biases on the query, key and value projections and a head size of its own.
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/families.h"

namespace sft {

namespace {

ModelConfig read(const Json& config) {
  const Json filled = with_defaults(config, {{"head_dim", 128},
                                             {"num_key_value_heads", 8},
                                             {"pad_token_id", 1},
                                             {"attention_dropout", 0.1},
                                             {"residual_dropout", 0.1}});
  ModelConfig m = read_common(filled);
  m.qkv_bias = flag_or(config, "attention_bias", true);
  m.output_bias = flag_or(config, "attention_out_bias", false);
  m.mlp_bias = flag_or(config, "mlp_bias", false);
  m.drops.residual = share_dropped(filled, "residual_dropout");
  m.ropes = {read_rope(config, m.head_dim)};
  return m;
}

}  // namespace

Family seed_oss_family() {
  return {"SeedOssForCausalLM", "seed_oss",      read,
          decoder_parameters,   decoder_forward, {{"Seed-OSS", 36.2}}};
}

}  // namespace sft
