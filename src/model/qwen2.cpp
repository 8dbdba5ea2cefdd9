// Qwen2 and Qwen2.5: Llama with biases on the query, key and value projections.
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/families.h"

namespace sft {

namespace {

ModelConfig read(const Json& config) {
  ModelConfig m = read_common(config);
  m.qkv_bias = true;
  m.ropes = {read_rope(config, m.head_dim)};
  read_windows(config, m, slides_as_qwen);
  return m;
}

std::vector<ParamSpec> parameters(const ModelConfig& c) { return prenorm_parameters(c, false); }

}  // namespace

Family qwen2_family() { return {"Qwen2ForCausalLM", "qwen2", read, parameters, prenorm_forward}; }

}  // namespace sft
