// Phi-3 and Phi-4: Llama whose q, k and v, and gate and up, are published as one tensor each, with
// rotation of a part of each head and frequencies that depend on a document's length.
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/families.h"

namespace sft {

namespace {

// The first files call longrope "su" or "yarn".
Json as_longrope(Json config) {
  for (const char* field : {"rope_scaling", "rope_parameters"}) {
    if (present(config, field) && config[field].is_object()) {
      Json& rope = config[field];
      const std::string type = word(rope, "rope_type", word(rope, "type", "default"));
      if (type == "su" || type == "yarn") {
        rope["rope_type"] = "longrope";
      }
    }
  }
  return config;
}

ModelConfig read(const Json& config) {
  const Json filled = with_defaults(config, {{"pad_token_id", 32000},
                                             {"rms_norm_eps", 1e-5},
                                             {"max_position_embeddings", 4096},
                                             {"original_max_position_embeddings", 4096}});
  ModelConfig m = read_common(filled);
  m.form.one_qkv = m.form.one_gate_up = true;
  m.drops.residual = share_dropped(config, "resid_pdrop");
  m.ropes = {read_rope(as_longrope(filled), m.head_dim, true)};
  read_windows(config, m, [](const Json&, int) { return true; });
  return m;
}

}  // namespace

Family phi3_family() {
  return {"Phi3ForCausalLM",
          "phi3",
          read,
          decoder_parameters,
          decoder_forward,
          {{"Phi-3-mini", 3.82}, {"Phi-4-mini", 3.84}, {"Phi-3-medium", 14.0}, {"Phi-4", 14.7}}};
}

}  // namespace sft
