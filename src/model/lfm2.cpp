// LFM2: short convolutions in most layers, attention in the others, and names of its own.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"
#include "core/json.h"
#include "core/numbers.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/families.h"

namespace sft {

namespace {

// What files leave out, and what they call by older names.
Json filled(const Json& given) {
  Json config = given;
  for (const auto& [older, name] : {std::pair{"tie_embedding", "tie_word_embeddings"},
                                    std::pair{"block_ff_dim", "intermediate_size"}}) {
    if (present(config, older)) {
      config[name] = config[older];
    }
  }
  if (present(config, "norm_eps")) {
    config["rms_norm_eps"] = config["norm_eps"];
  }
  return with_defaults(config, {{"tie_word_embeddings", true},
                                {"num_key_value_heads", 8},
                                {"max_position_embeddings", 128000},
                                {"rope_theta", 1000000.0},
                                {"pad_token_id", 0},
                                {"rms_norm_eps", 1e-5}});
}

// The MLP's width is made of "intermediate_size".
int64_t mlp_width(const Json& config, int64_t given) {
  if (!flag_or(config, "block_auto_adjust_ff_dim", true)) {
    return given;
  }
  const int64_t width = static_cast<int64_t>(static_cast<double>(2 * given) / 3.0);
  if (config.contains("block_ffn_dim_multiplier") && config["block_ffn_dim_multiplier"].is_null()) {
    return width;
  }
  const double factor = real_or(config, "block_ffn_dim_multiplier", 1.0, {1e-3, 1e3});
  const int64_t multiple = whole_or(config, "block_multiple_of", 256, {1, 1 << 20});
  const auto scaled = static_cast<int64_t>(factor * static_cast<double>(width));
  return (scaled + multiple - 1) / multiple * multiple;
}

// The layers with attention, where they are listed by number; else all.
std::function<bool(int)> convolves(const Json& config) {
  if (!present(config, "full_attn_idxs")) {
    return [](int) { return false; };
  }
  std::set<int64_t> attending;
  for (const Json& layer : config["full_attn_idxs"]) {
    const auto number = json_whole(layer, 0, kMostCount);
    if (!number) {
      throw Error("M034", fmt::format("config.json: \"full_attn_idxs\" has {}, it must list the "
                                      "numbers of layers",
                                      to_text(layer)))
          .hint("use the folder of a whole model, as published or as saved by transformers");
    }
    attending.insert(*number);
  }
  return [attending](int layer) { return !attending.contains(layer); };
}

ModelConfig read(const Json& given) {
  const Json config = filled(given);
  ModelConfig m = read_common(config);
  m.drops = {};  // transformers draws none here, whatever the file says
  m.intermediate = mlp_width(config, m.intermediate);
  m.form.attention_in = "operator_norm";
  m.form.mlp_in = "ffn_norm";
  m.form.last_norm = "model.embedding_norm";
  m.form.query_norm = "q_layernorm";
  m.form.key_norm = "k_layernorm";
  m.form.attention_output = "out_proj";
  m.form.mlp = "feed_forward";
  m.form.mlp_gate = "w1";
  m.form.mlp_up = "w3";
  m.form.down = "w2";
  m.activation = Activation::silu;
  m.conv_taps = whole_or(config, "conv_L_cache", 3, {2, 4});
  m.conv_bias = flag_or(config, "conv_bias", false);
  m.ropes = {read_rope(config, m.head_dim)};
  read_mixers(config, m, "conv", Mixer::short_conv, convolves(config));
  return m;
}

}  // namespace

Family lfm2_family() {
  return {"Lfm2ForCausalLM",
          "lfm2",
          read,
          decoder_parameters,
          decoder_forward,
          {{"LFM2", 0.354}, {"LFM2", 0.742}, {"LFM2", 1.17}, {"LFM2", 2.57}}};
}

}  // namespace sft
