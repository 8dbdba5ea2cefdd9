// Qwen3: a norm on each query and key head, and a head size of its own.
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/families.h"

namespace sft {

namespace {

ModelConfig read(const Json& config) {
  Json with_head_dim = config;
  if (!config.contains("head_dim")) {
    with_head_dim["head_dim"] = 128;  // transformers' default, whatever the hidden size
  }
  ModelConfig m = read_common(with_head_dim);
  m.qkv_bias = m.output_bias = flag_or(config, "attention_bias", false);
  m.ropes = {read_rope(config, m.head_dim)};
  read_windows(config, m, slides_as_qwen);
  return m;
}

std::vector<ParamSpec> parameters(const ModelConfig& c) { return prenorm_parameters(c, true); }

}  // namespace

Family qwen3_family() { return {"Qwen3ForCausalLM", "qwen3", read, parameters, prenorm_forward}; }

}  // namespace sft
