// Qwen3.5's text part, dense: layers of the gated delta rule between those of gated attention.
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/families.h"
#include "model/mixers.h"

namespace sft {

namespace {

ModelConfig read(const Json& config) {
  return read_delta_decoder(with_defaults(config, {{"num_key_value_heads", 4}, {"head_dim", 256}}));
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
