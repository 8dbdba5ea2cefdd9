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

std::vector<ParamSpec> parameters(const ModelConfig& c) { return prenorm_parameters(c, false); }

}  // namespace

Family mistral_family() {
  return {"MistralForCausalLM", "mistral", read, parameters, prenorm_forward};
}

}  // namespace sft
