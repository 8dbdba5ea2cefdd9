// bitsandbytes' settings (BitsAndBytesConfig) as the flags, model_init_kwargs or a checkpoint's
// config.json give them, and which layers transformers quantises by them. Dettmers et al.,
// "LLM.int8
// ()" (2022) and "QLoRA" (2023).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/json.h"

namespace sft {

struct ModelOptions;

struct BnbConfig {
  DType type = DType::nf4;         // nf4, fp4, either nested, or i8_rows
  std::string storage = "uint8";   // the type that a saved tensor's bytes are shown as
  float threshold = 6.0F;          // LLM.int8: inputs from here on are multiplied in 16 bits
  std::vector<std::string> skips;  // layers that stay as they are: ends of names, or expressions
  bool skips_head = true;          // no list was given: it is the head that stays

  // From --load_in_4bit and its kin, or quantization_config in --model_init_kwargs; none: neither
  // is there. C201 where they contradict each other; else as below.
  static std::optional<BnbConfig> from_options(const ModelOptions& options);
  // From the keys of a quantization_config. C202 names one with a wrong value; `strict`: or one
  // that does not exist.
  static BnbConfig from_json(const Json& json, const std::string& where, bool strict);
  // As transformers writes it into config.json; `compute`: the type that is computed in.
  Json to_json(std::string_view compute) const;

  // Whether a linear layer, the head included, is quantised: "model.layers.0.mlp.up_proj".
  bool quantises(const std::string& module) const;
  bool nested() const { return type == DType::nf4_nested || type == DType::fp4_nested; }
  // "nf4, nested"
  std::string words() const;
};

// Whether one of transformers' patterns means a module: a whole part of its name from the start, as
// a word or a regular expression, or its end. C190 for an expression that does not compile.
bool skips_module(const std::vector<std::string>& patterns, const std::string& module);

}  // namespace sft
