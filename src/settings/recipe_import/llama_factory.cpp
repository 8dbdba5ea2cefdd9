// LLaMA-Factory's keys (its hparams/*_args.py; what it takes from transformers has our names too).
#include <fmt/format.h>

#include <filesystem>

#include "core/file.h"
#include "core/json.h"
#include "core/strings.h"
#include "settings/recipe_import/recipe_reader.h"

namespace sft {

namespace {

// One entry of dataset_info.json.
Json registered(RecipeReader& r, const std::string& name, const Json& info,
                const std::filesystem::path& folder, bool alone) {
  Json out = Json::object();
  for (const auto& [key, value] : info.items()) {
    const std::string shown = fmt::format("dataset_info.json: {}: {}", name, key);
    if (key == "file_name" && value.is_string()) {
      out["path"] = (folder / value.get<std::string>()).string();
    } else if (key == "hf_hub_url" && !info.contains("file_name")) {
      out["path"] = value;
    } else if (key == "subset") {
      out["name"] = value;
    } else if (key == "split") {
      out["split"] = value;
    } else if (key == "columns" && alone && value.is_object()) {
      const bool talks = info.value("formatting", Json("alpaca")) == "sharegpt";
      Json map = Json::object();
      for (const auto& [meaning, column] : value.items()) {
        const std::string ours = meaning == "prompt"     ? "instruction"
                                 : meaning == "query"    ? "input"
                                 : meaning == "response" ? "output"
                                                         : meaning;
        if (meaning == "messages" && talks) {
          r.set("messages_field", column);
        } else if (column != ours) {
          map[column.is_string() ? column.get<std::string>() : to_text(column)] = ours;
        }
      }
      if (!map.empty()) {
        r.set("column_map", map);
      }
    } else if (key == "tags" && alone && value.is_object()) {
      for (const auto& [tag, column] : value.items()) {
        if (tag == "role_tag") {
          r.set("message_role_key", column);
        } else if (tag == "content_tag") {
          r.set("message_content_key", column);
        } else if (tag == "user_tag" || tag == "assistant_tag") {
          // human, user, gpt and assistant are known as they are
        } else {
          r.leave_out(fmt::format("{}: {}", shown, tag), column, "roles are mapped by  role_map");
        }
      }
    } else if (key == "formatting") {
      // the shape of the rows says it
    } else if (key == "ranking" && value == true) {
      r.leave_out(shown, value, "these are preferences, and examples are what is trained on");
    } else {
      r.leave_out(shown, value, "no counterpart is known");
    }
  }
  return out;
}

void read_datasets(RecipeReader& r, const std::string& key, const Json& value) {
  std::vector<std::string> names;
  for (const Json& name : value.is_array() ? value : Json::array({value})) {
    for (const std::string& one : split(name.is_string() ? name.get<std::string>() : "", ',')) {
      names.emplace_back(trim(one));
    }
  }
  const std::filesystem::path folder = r.text("dataset_dir", "data");
  const std::filesystem::path file = folder / "dataset_info.json";
  const Json registry = is_file(file) ? parse_json(read_text(file), file.string()) : Json::object();
  Json list = Json::array();
  for (const std::string& name : names) {
    Json entry = {{"path", name}};
    if (registry.contains(name) && registry[name].is_object()) {
      entry = registered(r, name, registry[name], folder, names.size() == 1);
    } else {
      r.leave_out(key, Json(name),
                  fmt::format("it is a name of {}, which has none such here: put the file, the "
                              "folder or owner/name in its place",
                              file.string()));
    }
    list.push_back(entry);
  }
  r.set_data_sets(list);
}

void read_samples(RecipeReader& r, const std::string&, const Json& value) {
  r.set("dataset_train_split", fmt::format("train[:{}]", to_text(value)));
}

void read_tuning(RecipeReader& r, const std::string& key, const Json& value) {
  if (value == "lora") {
    r.set("use_peft", true);
  } else if (value != "full") {
    r.leave_out(key, value, "all weights are trained, or adapters:  use_peft: true");
  }
}

void read_target(RecipeReader& r, const std::string&, const Json& value) {
  if (value == "all") {
    r.set("lora_target_modules", "all-linear");
    return;
  }
  Json list = Json::array();
  for (const std::string& name : split(value.is_string() ? value.get<std::string>() : "", ',')) {
    list.push_back(std::string(trim(name)));
  }
  r.set("lora_target_modules", list);
}

void read_more_modules(RecipeReader& r, const std::string&, const Json& value) {
  Json list = Json::array();
  for (const std::string& name : split(value.is_string() ? value.get<std::string>() : "", ',')) {
    list.push_back(std::string(trim(name)));
  }
  r.set("lora_modules_to_save", list);
}

void read_bits(RecipeReader& r, const std::string& key, const Json& value) {
  if (value == 4 || value == 8) {
    r.set(value == 4 ? "load_in_4bit" : "load_in_8bit", true);
  } else {
    r.leave_out(key, value, "4 and 8 bits are there");
  }
}

void read_pure(RecipeReader& r, const std::string&, const Json& value) {
  if (value == true) {
    r.set("dtype", "bfloat16");
  }
}

void read_neat(RecipeReader& r, const std::string&, const Json& value) {
  if (value == true) {
    r.set("packing", true);
  }
}

void read_prompts(RecipeReader& r, const std::string&, const Json& value) {
  r.set("completion_only_loss", value != true);
  r.set("assistant_only_loss", value != true);
}

void read_no_checkpointing(RecipeReader& r, const std::string&, const Json& value) {
  r.set("gradient_checkpointing", value != true);
}

void read_template(RecipeReader& r, const std::string& key, const Json& value) {
  r.leave_out(key, value,
              "the template of the model's own tokenizer is taken; another is a .jinja file or a "
              "model:  chat_template_path");
}

constexpr RecipeKey kKeys[] = {
    {"stage", "", "", [](RecipeReader&, const std::string&, const Json&) {}},  // looked at before
    {"finetuning_type", "", "", read_tuning},
    {"quantization_bit", "", "", read_bits},
    {"quantization_method", "", "bits of bitsandbytes are what  load_in_4bit  and  _8bit  mean"},
    {"lora_rank", "lora_r", ""},
    {"lora_target", "", "", read_target},
    {"additional_target", "", "", read_more_modules},
    {"adapter_name_or_path", "", "an adapter's folder is trained on as  model_name_or_path"},
    {"dataset", "", "", read_datasets},
    {"dataset_dir", "", "the files' own paths stand in  dataset_name"},
    {"media_dir image_max_pixels video_max_pixels", "", "rows are text"},
    {"template", "", "", read_template},
    {"cutoff_len", "max_length", ""},
    {"max_samples", "", "", read_samples},
    {"val_size", "test_split_size", ""},
    {"neat_packing", "", "", read_neat},
    {"train_on_prompt", "", "", read_prompts},
    {"pure_bf16", "", "", read_pure},
    {"disable_gradient_checkpointing", "", "", read_no_checkpointing},
    {"preprocessing_num_workers", "dataset_num_proc", ""},
    {"overwrite_cache preprocessing_batch_size", "",
     "tokenised data are kept and made again by themselves"},
    {"flash_attn", "", "one attention, fused, serves every model and device"},
    {"enable_liger_kernel use_unsloth use_unsloth_gc", "", "what they fuse is always fused"},
    {"plot_loss", "", "loss.svg and report.html are always drawn"},
};

}  // namespace

void import_llama_factory(RecipeReader& r) {
  r.take_all(kKeys);
  // Where its default is not ours.
  const bool adapters = r.text("finetuning_type", "lora") == "lora";
  if (adapters) {
    const double rank = r.number("lora_rank", 8);
    r.set("use_peft", true);
    r.set("lora_r", static_cast<int64_t>(rank));
    r.set("lora_alpha", static_cast<int64_t>(2 * rank));
    r.set("lora_dropout", 0.0);
    r.set("lora_target_modules", "all-linear");
  }
  r.set("max_length", 2048);
  r.set("learning_rate", 5e-5);
  const bool conversations_or_prompts = r.text("stage", "sft") == "sft";
  if (conversations_or_prompts) {
    r.set("completion_only_loss", true);
    r.set("assistant_only_loss", true);
  }
  r.set("gradient_checkpointing", true);
  if (!r.has("bf16") && !r.has("fp16") && !r.has("pure_bf16")) {
    r.set("bf16", false);
  }
}

}  // namespace sft
