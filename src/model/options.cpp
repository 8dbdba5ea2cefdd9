#include "model/options.h"

namespace sft {
namespace {

void visit_model(ModelOptions& o, OptionTable& v) {
  v.group("Model");
  v("model_name_or_path", &o.model_name_or_path,
    "A model folder, a .gguf file, or a model of the hub (owner/name).")
      .also("model");
  v("model_revision", &o.model_revision, "Branch, tag or commit of a model of the hub.");
  v("verify", &o.verify,
    "Compare files of the hub's cache with their hashes before they are used; what is damaged is "
    "fetched again.");
  v("dtype", &o.dtype,
    "The type weights are trained in: float32 (auto is the same), or bfloat16, rounded "
    "stochastically.")
      .one_of({"auto", "bfloat16", "float16", "float32"})
      .alias("torch_dtype", "the default is float32 (older TRL took the files' own type)");
  v("attn_implementation", &o.attn_implementation, "Which attention code runs.")
      .inert("one implementation serves every model, and rows never see each other in it");
  v("trust_remote_code", &o.trust_remote_code, "Run Python code from the model's folder.")
      .inert("code from a model's folder is never run");
  v("model_init_kwargs", &o.model_init_kwargs,
    "dtype and revision, which win over the flags, and keys of config.json with other values.");
  v("router_aux_loss_coef", &o.router_aux_loss_coef,
    "Weight of the experts' balance loss; refused for a model without one.")
      .at_least(0);
}

void visit_lora(ModelOptions& o, OptionTable& v) {
  v.group("LoRA");
  v("use_peft", &o.use_peft, "Train low-rank adapters in place of the weights.");
  v("lora_r", &o.lora_r, "Rank.").at_least(1);
  v("lora_alpha", &o.lora_alpha, "Scale: the update counts alpha / r.");
  v("lora_dropout", &o.lora_dropout, "Share of an adapter's input that is dropped.").below(1);
  v("lora_target_modules", &o.lora_target_modules,
    "Layers that get an adapter: names, or one regular expression for whole names, or all-linear; "
    "without it those that PEFT has for the family (`sft models --markdown`).");
  v("lora_target_parameters", &o.lora_target_parameters,
    "Ends of names of parameters that get one for each expert: experts.gate_up_proj "
    "experts.down_proj.");
  v("lora_modules_to_save", &o.lora_modules_to_save,
    "Ends of names of modules that are trained whole and saved with the adapter, such as "
    "embed_tokens lm_head.");
  v("lora_task_type", &o.lora_task_type, "Task name in the adapter's configuration.")
      .built_only({"CAUSAL_LM"}, "models here continue text");
  v("use_rslora", &o.use_rslora, "Scale by alpha / sqrt(r).");
  v("use_dora", &o.use_dora,
    "Train the length of each row of a weight apart from its direction (DoRA).");
  v("lora_config", &o.lora_config,
    "Fields of PEFT's LoraConfig as JSON or a file of it: rank_pattern, layers_to_transform, bias, "
    "init_lora_weights, ...; they stand for the flags.");
}

}  // namespace

void ModelOptions::visit_quantisation(OptionTable& v) {
  v.group("Quantisation");
  v("load_in_8bit", &load_in_8bit,
    "Keep the base of adapters in int8 and round their inputs to it too (LLM.int8).");
  v("load_in_4bit", &load_in_4bit, "Keep the base of adapters in 4 bits (QLoRA).");
  v("bnb_4bit_quant_type", &bnb_4bit_quant_type, "The 4-bit code.").one_of({"fp4", "nf4"});
  v("use_bnb_nested_quant", &use_bnb_nested_quant, "Keep the 4 bits' scales in 8 bits.");
  v("bnb_4bit_quant_storage", &bnb_4bit_quant_storage, "The type that 4 bits are stored as.")
      .one_of({"bfloat16", "float16", "float32", "float64", "int8", "uint8"})
      .inert("bytes are kept as bytes; what is computed is the same");
  v("base_dtype", &base_dtype,
    "The type that the base of adapters is kept in: auto as it is computed in, fp8 (e4m3, a scale "
    "for each row).")
      .one_of({"auto", "fp8"});
}

void ModelOptions::visit(OptionTable& v) {
  visit_model(*this, v);
  visit_lora(*this, v);
  visit_quantisation(v);
}

}  // namespace sft
