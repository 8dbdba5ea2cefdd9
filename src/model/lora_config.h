// PEFT's LoraConfig (Hu et al., "LoRA", 2021), as the flags or an adapter_config.json give it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"

namespace sft {

struct ModelOptions;

// Which biases of the model are trained beside adapters: none, all, those of layers with an
// adapter.
enum class TrainedBiases { none, all, lora_only };

struct LoraConfig {
  int64_t r = 8;
  double alpha = 8;
  double dropout = 0;
  // Which layers get an adapter: those with one of these names behind a dot, or all whose whole
  // name the expression matches ("all-linear": every linear layer but the head). Neither: what PEFT
  // takes for the model type.
  std::vector<std::string> target_modules;
  std::optional<std::string> target_expression;
  // Ends of names of experts' parameters that get an adapter for each expert: PEFT's ParamWrapper.
  std::vector<std::string> target_parameters;
  std::vector<std::string> exclude_modules;
  std::optional<std::string> exclude_expression;
  std::vector<int64_t> layers_to_transform;     // empty: all
  std::vector<std::string> layers_pattern;      // names of the lists of layers; empty: any
  std::map<std::string, int64_t> rank_pattern;  // expression for the end of a name -> r
  std::map<std::string, double> alpha_pattern;
  bool rslora = false;  // scale alpha / sqrt(r), not alpha / r. Kalajdzievski (2023)
  bool dora = false;    // rows keep a trained length of their own (ops/dora.h)
  TrainedBiases biases = TrainedBiases::none;
  // Ends of names of modules that are trained whole.
  std::vector<std::string> modules_to_save;
  // Whether a head that is the model's embeddings stays so where one of them is trained.
  bool keeps_tied = false;
  // Name of an embedding -> rows of it that are trained.
  std::map<std::string, std::vector<int64_t>> trainable_tokens;
  // How A and B begin: "true" (A uniform, B zero), "false" (both uniform), "gaussian", "pissa",
  // "pissa_niter_<N>", "olora"; of an adapter that is there also "eva" and "orthogonal".
  std::string init = "true";
  // Where the model is a part of a whole, what stands behind "model." in the names that PEFT looks
  // at: "language_model.".
  std::string text_part;
  std::string base_model;
  std::optional<std::string> base_revision;

  // Whether the base is changed when A and B begin, so that W + s B A is the weight that it was.
  bool changes_base() const { return init.starts_with("pissa") || init == "olora"; }

  // From --lora_r and the others, and --lora_config, whose fields are PEFT's. C191 for what cannot
  // be: a rank below 1, dropout of 1, a flag that says otherwise than --lora_config.
  static LoraConfig from_options(const ModelOptions& options);
  // From PEFT's adapter_config.json. C192 names a field of it that is not supported, or wrong.
  static LoraConfig from_json(const Json& json, const std::string& where);
  // What PEFT 0.21 writes. `targets`: the modules found.
  Json to_json(const std::vector<std::string>& targets) const;
};

}  // namespace sft
