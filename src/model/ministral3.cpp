// Ministral 3: Mistral whose queries grow with their position, as Llama 4's do.
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/families.h"

namespace sft {

namespace {

Json usual_rope() {
  return {{"rope_type", "yarn"},
          {"rope_theta", 1e6},
          {"factor", 16.0},
          {"original_max_position_embeddings", 16384},
          {"beta_fast", 32.0},
          {"beta_slow", 1.0},
          {"mscale", 1.0},
          {"mscale_all_dim", 1.0},
          {"llama_4_scaling_beta", 0.1}};
}

ModelConfig read(const Json& config) {
  const Json filled = with_defaults(config, {{"head_dim", 128},
                                             {"pad_token_id", 11},
                                             {"rms_norm_eps", 1e-5},
                                             {"max_position_embeddings", 262144}});
  ModelConfig m = read_common(filled);
  const Json rope = present(config, "rope_parameters") ? config["rope_parameters"] : usual_rope();
  m.ropes = {rope_from(rope, filled, m.head_dim)};
  m.ropes[0].query_beta = static_cast<float>(real(rope, "llama_4_scaling_beta", {0, 1e3}));
  m.ropes[0].query_period = whole(rope, "original_max_position_embeddings", {1, 1 << 30});
  read_windows(config, m, [](const Json&, int) { return true; });
  return m;
}

}  // namespace

Family ministral3_family() {
  return {"Ministral3ForCausalLM",
          "ministral3",
          read,
          decoder_parameters,
          decoder_forward,
          {{"Ministral 3", 3.4}, {"Ministral 3", 8.5}, {"Ministral 3", 13.5}}};
}

}  // namespace sft
