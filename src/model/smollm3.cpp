// SmolLM3: Llama without rotation in every fourth layer.
#include <fmt/format.h>

#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/families.h"

namespace sft {

namespace {

// "no_rope_layers" has a 1 for each layer that does turn queries and keys.
std::vector<bool> layers_with_rope(const Json& config, int layers) {
  std::vector<bool> turns;
  if (!present(config, "no_rope_layers")) {
    const int interval = whole_or(config, "no_rope_layer_interval", 4, {1, 1000});
    for (int i = 0; i < layers; ++i) {
      turns.push_back((i + 1) % interval != 0);
    }
    return turns;
  }
  const Json& list = config["no_rope_layers"];
  if (!list.is_array() || list.size() < static_cast<size_t>(layers)) {
    throw Error("M034", fmt::format("config.json: no_rope_layers is no list of {} numbers: {}",
                                    layers, to_text(list).substr(0, 80)))
        .hint("use the folder of a whole model, as published or as saved by transformers");
  }
  for (int i = 0; i < layers; ++i) {
    const Json one = {{"no_rope_layers", list[static_cast<size_t>(i)]}};
    turns.push_back(whole(one, "no_rope_layers", {0, 1}) == 1);
  }
  return turns;
}

bool slides_without_rope(const Json& config, int layer) {
  return !layers_with_rope(config, layer + 1)[static_cast<size_t>(layer)];
}

ModelConfig read(const Json& config) {
  const Json filled = with_defaults(config, {{"num_key_value_heads", 4},
                                             {"pad_token_id", 128004},
                                             {"rope_theta", 2e6},
                                             {"max_position_embeddings", 32768},
                                             {"tie_word_embeddings", true}});
  ModelConfig m = read_common(filled);
  m.qkv_bias = m.output_bias = flag_or(config, "attention_bias", false);
  m.mlp_bias = flag_or(config, "mlp_bias", false);
  m.ropes = {read_rope(filled, m.head_dim)};
  const std::vector<bool> turns = layers_with_rope(config, m.layers);
  for (int i = 0; i < m.layers; ++i) {
    m.layer[static_cast<size_t>(i)].rope = turns[static_cast<size_t>(i)] ? 0 : -1;
  }
  read_windows(config, m, slides_without_rope);
  for (ModelConfig::Layer& layer : m.layer) {
    layer.window = flag_or(config, "use_sliding_window", false) ? layer.window : 0;
  }
  return m;
}

}  // namespace

Family smollm3_family() {
  return {"SmolLM3ForCausalLM", "smollm3",       read,
          decoder_parameters,   decoder_forward, {{"SmolLM3", 3.08}}};
}

}  // namespace sft
