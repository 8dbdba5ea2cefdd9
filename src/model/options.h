// What the user can say about the model: which one, in which form, and adapters. Names and defaults
// are TRL's. Used by the model loader and the trainer.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "options/options.h"

namespace sft {

struct ModelOptions {
  std::optional<std::string> model_name_or_path;
  std::string model_revision = "main";
  bool verify = false;
  std::string dtype = "float32";
  std::optional<std::string> attn_implementation;
  bool trust_remote_code = false;
  Json model_init_kwargs;
  std::optional<double> router_aux_loss_coef;

  bool use_peft = false;
  int64_t lora_r = 16;
  int64_t lora_alpha = 32;
  double lora_dropout = 0.05;
  std::vector<std::string> lora_target_modules;
  std::vector<std::string> lora_target_parameters;
  std::vector<std::string> lora_modules_to_save;
  std::string lora_task_type = "CAUSAL_LM";
  bool use_rslora = false;
  bool use_dora = false;
  Json lora_config;

  bool load_in_8bit = false;
  bool load_in_4bit = false;
  std::string bnb_4bit_quant_type = "nf4";
  bool use_bnb_nested_quant = false;
  std::optional<std::string> bnb_4bit_quant_storage;
  std::string base_dtype = "auto";

  void visit(OptionTable& v);
  void visit_quantisation(OptionTable& v);  // a part of it: how the base of adapters is kept
};

}  // namespace sft
