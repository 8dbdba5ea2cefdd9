// What of a model a LoraConfig means, in PEFT's order: the layers that get an adapter, the modules
// and biases that are trained whole, the words that are. Used by whoever opens an adapter.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "model/lora_config.h"
#include "model/model.h"

namespace sft {

// A layer with an adapter, by the name that transformers gives it.
struct AdapterTarget {
  enum class Kind { linear, embedding, head, experts };
  std::string module;       // "model.layers.0.self_attn.q_proj"
  int64_t in = 0, out = 0;  // an embedding: words, and the size of a row
  int64_t rank = 0;
  float scale = 1.0F;
  Kind kind = Kind::linear;
  // Of experts: how many, each with an adapter of that rank, and the parameter they stand in,
  // "model.layers.0.mlp.experts.gate_up_proj"; `module` is what PEFT wraps then, twice where both
  // of a block's parameters are targets.
  int64_t experts = 1;
  std::string parameter{};
  bool turned = false;  // each expert's part of it is (in, out)
  int64_t ranks() const { return rank * experts; }
};

// "q_proj" of "model.layers.0.self_attn.q_proj".
std::string last_name(const std::string& module);

struct AdapterPlan {
  LoraConfig config;  // as PEFT turns it where a model's experts are meant by their layers' names
  std::vector<AdapterTarget> targets;
  std::set<std::string> whole;                         // modules trained whole
  std::set<std::string> biases;                        // parameters' names, trained beside them
  std::map<std::string, std::vector<int64_t>> tokens;  // a table's module -> rows that are trained
  bool keeps_tied = false;  // the embeddings are trained whole, and the head with them
  std::vector<std::string> warnings;
};

// C193 when nothing is adapted or a name means nothing, naming what there is; C194 for a layer that
// no adapter can be on; C197 for words that are not in the vocabulary; C191 for a rank that the
// layer does not have.
AdapterPlan plan_adapters(const Model& model, const LoraConfig& config);

inline constexpr const char* kEmbeddingModule = "model.embed_tokens";
inline constexpr const char* kHeadModule = "lm_head";

}  // namespace sft
