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

struct LoraConfig {
  int64_t r = 8;
  double alpha = 8;
  double dropout = 0;
  // Which layers get an adapter: those with one of these names behind a dot, or all whose whole
  // name the expression matches ("all-linear": every linear layer but the head). Neither: what PEFT
  // takes for the model type.
  std::vector<std::string> target_modules;
  std::optional<std::string> target_expression;
  std::vector<std::string> exclude_modules;
  std::optional<std::string> exclude_expression;
  std::vector<int64_t> layers_to_transform;     // empty: all
  std::vector<std::string> layers_pattern;      // names of the lists of layers; empty: any
  std::map<std::string, int64_t> rank_pattern;  // expression for the end of a name -> r
  std::map<std::string, double> alpha_pattern;
  bool rslora = false;  // scale alpha / sqrt(r), not alpha / r. Kalajdzievski (2023)
  std::string base_model;
  std::optional<std::string> base_revision;

  // From --lora_r and the others. C191 for what cannot be: a rank below 1, dropout of 1.
  static LoraConfig from_options(const ModelOptions& options);
  // From PEFT's adapter_config.json. C192 names a field of it that is not supported, or wrong.
  static LoraConfig from_json(const Json& json, const std::string& where);
  // What PEFT 0.21 writes. `targets`: the modules found.
  Json to_json(const std::vector<std::string>& targets) const;
};

}  // namespace sft
