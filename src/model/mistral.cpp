// Mistral: Llama with a sliding window in every layer, where the configuration has one.
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/families.h"

namespace sft {

namespace {

ModelConfig read(const Json& config) {
  ModelConfig m = read_common(config);
  m.ropes = {read_rope(config, m.head_dim)};
  read_windows(config, m, [](const Json&, int) { return true; });
  return m;
}

}  // namespace

Family mistral_family() {
  return {"MistralForCausalLM",
          "mistral",
          read,
          decoder_parameters,
          decoder_forward,
          {{"Mistral", 7.25}, {"Mistral-Nemo", 12.2}, {"Mistral-Small 3", 23.6}},
          {"q_proj", "v_proj"}};
}

}  // namespace sft
