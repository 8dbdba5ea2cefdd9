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

}  // namespace

Family qwen2_family() {
  return {"Qwen2ForCausalLM",
          "qwen2",
          read,
          decoder_parameters,
          decoder_forward,
          {{"Qwen2.5", 0.494},
           {"Qwen2.5", 1.54},
           {"Qwen2.5", 3.09},
           {"Qwen2.5", 7.62},
           {"Qwen2.5", 14.8},
           {"Qwen2.5", 32.8},
           {"Qwen2.5", 72.7}},
          {"q_proj", "v_proj"}};
}

}  // namespace sft
