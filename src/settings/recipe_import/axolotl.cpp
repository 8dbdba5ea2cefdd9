// Axolotl's keys (docs.axolotl.ai, config reference; src/axolotl/core/builders for the defaults).
#include <fmt/format.h>

#include "settings/recipe_import/recipe_reader.h"

namespace sft {

namespace {

// A data set of the list: what --dataset_name and its options, or a member of --datasets, say.
Json data_set(RecipeReader& r, const Json& entry, bool alone) {
  Json out = Json::object();
  for (const auto& [key, value] : entry.items()) {
    const std::string shown = fmt::format("datasets: {}", key);
    if (value.is_null()) {
      continue;
    }
    if (key == "path" || key == "name" || key == "split" || key == "data_files") {
      out[key] = value;
    } else if (key == "type") {
      if (value.is_object()) {
        r.leave_out(shown, value,
                    "rows are read in the shapes of  sft help data ; --column_map renames columns");
      }  // else the shape of the rows says it
    } else if (key == "ds_type") {
      // a file's ending says it
    } else if (key == "field_messages" && alone) {
      r.set("messages_field", value);
    } else if (key == "field" && alone) {
      r.set("dataset_text_field", value);
    } else if (key == "message_property_mappings" && alone && value.is_object()) {
      for (const auto& [ours, theirs] : value.items()) {
        if (ours == "role" || ours == "content") {
          r.set(fmt::format("message_{}_key", ours), theirs);
        } else {
          r.leave_out(fmt::format("{}: {}", shown, ours), theirs, "the template reads it as it is");
        }
      }
    } else if (key == "roles_to_train") {
      const bool assistant = value == Json::array({"assistant"}) || value == Json::array({"gpt"});
      if (assistant) {
        r.set("assistant_only_loss", true);
      } else {
        r.leave_out(shown, value, "the assistant's turns are trained, or all of them");
      }
    } else {
      r.leave_out(shown, value, "no counterpart is known");
    }
  }
  return out;
}

bool is_conversation(const Json& entry) {
  const Json type = entry.value("type", Json());
  return type.is_string() && (type.get<std::string>().starts_with("chat_template") ||
                              type.get<std::string>().starts_with("sharegpt"));
}

void read_datasets(RecipeReader& r, const std::string& key, const Json& value) {
  if (!value.is_array() || value.empty()) {
    r.leave_out(key, value, "it is not a list of data sets");
    return;
  }
  Json list = Json::array();
  for (const Json& entry : value) {
    if (!entry.is_object()) {
      r.leave_out(key, entry, "it is not a data set with a path");
      continue;
    }
    // Axolotl trains the assistant's turns of conversations unless it is told others.
    if (is_conversation(entry) && !entry.contains("roles_to_train") && !r.flag("train_on_inputs")) {
      r.set("assistant_only_loss", true);
    }
    list.push_back(data_set(r, entry, value.size() == 1));
  }
  r.set_data_sets(list);
  if (list.size() == 1 && list[0].contains("data_files")) {
    r.leave_out("datasets: data_files", list[0]["data_files"],
                "name the file itself as  dataset_name");
  }
}

void read_adapter(RecipeReader& r, const std::string& key, const Json& value) {
  if (value == "lora" || value == "qlora") {
    r.set("use_peft", true);
    if (value == "qlora") {
      r.set("load_in_4bit", true);
    }
    r.set("lora_dropout", r.number("lora_dropout", 0.0));
  } else {
    r.leave_out(key, value, "adapters are low-rank ones:  use_peft: true");
  }
}

void read_all_linear(RecipeReader& r, const std::string&, const Json& value) {
  if (value == true) {
    r.set("lora_target_modules", "all-linear");
  }
}

// So many times an epoch: a share of all steps, as Axolotl computes it.
void read_times_an_epoch(RecipeReader& r, const std::string& key, const Json& value) {
  const std::string what = key == "evals_per_epoch" ? "eval" : "save";
  const double times = value.is_number() ? value.get<double>() : 0;
  if (times <= 0) {
    r.set(what + "_strategy", "no");
  } else if (times == 1) {
    r.set(what + "_strategy", "epoch");
  } else if (r.has("max_steps")) {
    r.leave_out(key, value, fmt::format("max_steps is given too: set  {}_steps", what));
  } else {
    r.set(what + "_strategy", "steps");
    r.set(what + "_steps", 1 / (times * r.number("num_epochs", 1)));
  }
}

void read_steps(RecipeReader& r, const std::string& key, const Json& value) {
  r.set(key.substr(0, 4) + "_strategy", "steps");
  r.set(key, value);
}

void read_validation(RecipeReader& r, const std::string&, const Json& value) {
  if (value.is_number() && value.get<double>() > 0) {
    r.set("test_split_size", value);
  }
}

void read_optimizer(RecipeReader& r, const std::string&, const Json& value) {
  r.set("optim", value == "adamw_8bit" ? Json("adamw_bnb_8bit") : value);
}

void read_schedule(RecipeReader& r, const std::string& key, const Json& value) {
  if (value == "one_cycle" || value == "rex") {
    r.leave_out(key, value, "the nearest is  lr_scheduler_type: cosine");
  } else if (value == "cosine" && r.has("cosine_min_lr_ratio")) {
    r.set("lr_scheduler_type", "cosine_with_min_lr");
    r.set("lr_scheduler_kwargs", {{"min_lr_rate", r.at("cosine_min_lr_ratio")}});
  } else {
    r.set("lr_scheduler_type", value);
  }
}

void read_least_rate(RecipeReader& r, const std::string&, const Json& value) {
  if (r.text("lr_scheduler", "cosine") == "cosine") {
    r.set("lr_scheduler_type", "cosine_with_min_lr");
    r.set("lr_scheduler_kwargs", {{"min_lr_rate", value}});
  } else {
    r.leave_out("cosine_min_lr_ratio", value, "the schedule is no cosine");
  }
}

void read_inputs(RecipeReader& r, const std::string&, const Json& value) {
  r.set("completion_only_loss", value != true);
  if (value == true) {
    r.set("assistant_only_loss", false);
  }
}

void read_bf16(RecipeReader& r, const std::string&, const Json& value) {
  if (value.is_boolean()) {
    r.set("bf16", value);
  } else if (value == "full") {
    r.set("dtype", "bfloat16");
  }  // auto: where the device has it, as here
}

void read_bfloat16(RecipeReader& r, const std::string&, const Json& value) {
  if (value == true) {
    r.set("dtype", "bfloat16");
  }
}

void read_float16(RecipeReader& r, const std::string&, const Json& value) {
  if (value == true) {
    r.set("fp16", true);
  }
}

void read_checkpointing(RecipeReader& r, const std::string& key, const Json& value) {
  if (value == "offload" || value == "offload_disk") {
    r.set("activation_offloading", true);
  } else if (value.is_boolean() || value == "unsloth") {
    r.set("gradient_checkpointing", value != false);
  } else {
    r.leave_out(key, value, "it is true or false here, or what  sft --help  lists");
  }
}

void read_special_tokens(RecipeReader& r, const std::string& key, const Json& value) {
  if (!value.is_object()) {
    r.leave_out(key, value, "it is no mapping of tokens");
    return;
  }
  for (const auto& [name, token] : value.items()) {
    if (name == "eos_token" || name == "pad_token") {
      r.set(name, token);
    } else {
      r.leave_out(fmt::format("{}: {}", key, name), token, "the tokenizer's own is kept");
    }
  }
}

void read_template(RecipeReader& r, const std::string& key, const Json& value) {
  if (value != "tokenizer_default") {
    r.leave_out(key, value,
                "the model's own template is taken; another is a .jinja file or a model:  "
                "chat_template_path");
  }
}

void read_wandb(RecipeReader& r, const std::string&, const Json& value) {
  r.set("project", value);
  r.set("report_to", "wandb");
}

void read_tensorboard(RecipeReader& r, const std::string&, const Json& value) {
  if (value == true) {
    r.set("report_to", "tensorboard");
  }
}

void read_hub(RecipeReader& r, const std::string&, const Json& value) {
  r.set("hub_model_id", value);
  r.set("push_to_hub", true);
  r.set("hub_private_repo", true);
}

constexpr RecipeKey kKeys[] = {
    {"base_model", "model_name_or_path", ""},
    {"revision_of_model", "model_revision", ""},
    {"base_model_config tokenizer_config model_type tokenizer_type is_llama_derived_model "
     "is_mistral_derived_model is_qwen_derived_model is_falcon_derived_model processor_type "
     "tokenizer_use_fast tokenizer_legacy",
     "", "the architecture and the tokenizer are those of the model's folder"},
    {"strict", "", "every key is looked at here: one that is not known is an error"},
    {"datasets", "", "", read_datasets},
    {"test_datasets", "",
     "evaluation rows are another split of the same data, or a share:  test_split_size: 0.05"},
    {"val_set_size", "", "", read_validation},
    {"adapter", "", "", read_adapter},
    {"lora_model_dir", "", "an adapter's folder is trained on as  model_name_or_path"},
    {"lora_target_linear", "", "", read_all_linear},
    {"peft_use_dora", "use_dora", ""},
    {"peft_use_rslora", "use_rslora", ""},
    {"sequence_len", "max_length", ""},
    {"sample_packing", "packing", ""},
    {"eval_sample_packing", "eval_packing", ""},
    {"train_on_inputs", "", "", read_inputs},
    {"micro_batch_size", "per_device_train_batch_size", ""},
    {"eval_batch_size", "per_device_eval_batch_size", ""},
    {"num_epochs", "num_train_epochs", ""},
    {"optimizer", "", "", read_optimizer},
    {"lr_scheduler", "", "", read_schedule},
    {"cosine_min_lr_ratio", "", "", read_least_rate},
    {"evals_per_epoch saves_per_epoch", "", "", read_times_an_epoch},
    {"eval_steps save_steps", "", "", read_steps},
    {"bf16", "", "", read_bf16},
    {"bfloat16", "", "", read_bfloat16},
    {"float16", "", "", read_float16},
    {"gradient_checkpointing", "", "", read_checkpointing},
    {"special_tokens", "", "", read_special_tokens},
    {"chat_template", "", "", read_template},
    {"wandb_project", "", "", read_wandb},
    {"wandb_name wandb_run_id", "run_name", ""},
    {"use_tensorboard", "", "", read_tensorboard},
    {"use_wandb", "", "said by  report_to: wandb"},
    {"hub_model_id", "", "", read_hub},
    {"dataset_processes", "dataset_num_proc", ""},
    {"lora_mlp_kernel lora_qkv_kernel lora_o_kernel flash_attn_cross_entropy flash_attn_rms_norm "
     "flash_attn_fuse_qkv flash_attn_fuse_mlp",
     "", "what they fuse is always fused"},
    {"plugins", "",
     "there are no plugins; what the liger and cut-cross-entropy ones fuse is fused"},
};

}  // namespace

void import_axolotl(RecipeReader& r) {
  r.take_all(kKeys);
  // Where its default is not ours.
  r.set("num_train_epochs", 1);
  r.set("per_device_train_batch_size", 1);
  r.set("lr_scheduler_type", "cosine");
  r.set("max_length", 512);
  r.set("save_strategy", r.has("save_steps") ? "steps" : "epoch");
  r.set("save_total_limit", 4);
  r.set("completion_only_loss", true);
  if (!r.has("warmup_steps") && !r.has("warmup_ratio")) {
    r.set("warmup_ratio", 0.03);
  }
  if (!r.is_set("gradient_checkpointing")) {
    r.set("gradient_checkpointing", false);
  }
  const bool half = r.has("bf16") || r.has("bfloat16") || r.has("fp16") || r.has("float16");
  if (!half) {
    r.set("bf16", false);
  }
}

}  // namespace sft
