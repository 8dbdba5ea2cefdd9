#include "model/lora_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"
#include "core/strings.h"
#include "model/lora_fields.h"
#include "model/options.h"

namespace sft {

namespace {

void check(const LoraConfig& c) {
  if (c.r < 1) {
    throw Error("C191", fmt::format("--lora_r is {}, and a rank is 1 or more", c.r))
        .hint("--lora_r 16");
  }
  if (!(c.dropout >= 0 && c.dropout < 1)) {
    throw Error("C191",
                fmt::format("--lora_dropout is {}, and it is a share from 0 to below 1", c.dropout))
        .hint("--lora_dropout 0.05");
  }
}

// A flag that was given must not say otherwise than --lora_config. Flags at their defaults count as
// not given.
template <class T>
void check_said_once(const Json& json, const char* field, const char* flag, const T& value,
                     const T& otherwise) {
  if (json.contains(field) && !json[field].is_null() && value != otherwise &&
      json[field] != Json(value)) {
    throw Error("C191", fmt::format("{} is {} in --lora_config, and {} is {}", field,
                                    to_text(json[field]), flag, to_text(Json(value))))
        .hint(fmt::format("leave {} out, or say the same in both", flag));
  }
}

void check_said_once(const ModelOptions& o) {
  const Json& json = o.lora_config;
  const ModelOptions defaults;
  check_said_once(json, "r", "--lora_r", o.lora_r, defaults.lora_r);
  check_said_once(json, "lora_alpha", "--lora_alpha", o.lora_alpha, defaults.lora_alpha);
  check_said_once(json, "lora_dropout", "--lora_dropout", o.lora_dropout, defaults.lora_dropout);
  check_said_once(json, "use_rslora", "--use_rslora", o.use_rslora, defaults.use_rslora);
  check_said_once(json, "use_dora", "--use_dora", o.use_dora, defaults.use_dora);
  check_said_once(json, "modules_to_save", "--lora_modules_to_save", o.lora_modules_to_save,
                  defaults.lora_modules_to_save);
  if (json.contains("target_modules") && !o.lora_target_modules.empty()) {
    throw Error("C191",
                "target_modules stands in --lora_config, and there is "
                "--lora_target_modules as well")
        .hint("leave one of the two out");
  }
}

}  // namespace

LoraConfig LoraConfig::from_options(const ModelOptions& o) {
  LoraConfig c;
  c.r = o.lora_r;
  c.alpha = static_cast<double>(o.lora_alpha);
  c.dropout = o.lora_dropout;
  c.rslora = o.use_rslora;
  c.dora = o.use_dora;
  c.modules_to_save = o.lora_modules_to_save;
  c.target_parameters = o.lora_target_parameters;
  // As TRL reads the flag: one value is an expression, several are names.
  if (o.lora_target_modules.size() == 1) {
    c.target_expression = o.lora_target_modules[0];
  } else {
    c.target_modules = o.lora_target_modules;
  }
  if (!o.lora_config.is_null()) {
    LoraFields fields(o.lora_config, "--lora_config");
    fields.read(c);
    fields.check_new(c);
    check_said_once(o);
  }
  c.base_model = o.model_name_or_path.value_or("");
  c.base_revision = std::nullopt;
  check(c);
  return c;
}

LoraConfig LoraConfig::from_json(const Json& json, const std::string& where) {
  LoraFields fields(json, where);
  fields.check_kind();
  LoraConfig c;
  fields.read(c);
  return c;
}

Json LoraConfig::to_json(const std::vector<std::string>& targets) const {
  const auto whole_or_real = [](double x) {
    return x == std::floor(x) && std::abs(x) < 1e15 ? Json(static_cast<int64_t>(x)) : Json(x);
  };
  const auto list_or_null = [](const auto& list) { return list.empty() ? Json() : Json(list); };
  Json alphas = Json::object(), ranks = Json::object();
  for (const auto& [name, alpha_of] : alpha_pattern) {
    alphas[name] = whole_or_real(alpha_of);
  }
  for (const auto& [name, rank] : rank_pattern) {
    ranks[name] = rank;
  }
  const bool all = target_expression && to_lower(*target_expression) == "all-linear";
  return {
      {"alpha_pattern", alphas},
      {"auto_mapping", nullptr},
      {"base_model_name_or_path", base_model},
      {"bias", LoraFields::name_of(biases)},
      {"ensure_weight_tying", keeps_tied},
      {"exclude_modules",
       exclude_expression ? Json(*exclude_expression) : list_or_null(exclude_modules)},
      {"fan_in_fan_out", false},
      {"inference_mode", true},
      {"init_lora_weights", init == "true" || init == "false" ? Json(init == "true") : Json(init)},
      {"layer_replication", nullptr},
      {"layers_pattern", list_or_null(layers_pattern)},
      {"layers_to_transform", list_or_null(layers_to_transform)},
      {"loftq_config", Json::object()},
      {"lora_alpha", whole_or_real(alpha)},
      {"lora_bias", false},
      {"lora_dropout", dropout},
      {"megatron_config", nullptr},
      {"megatron_core", "megatron.core"},
      {"modules_to_save", list_or_null(modules_to_save)},
      {"peft_type", "LORA"},
      {"r", r},
      {"rank_pattern", ranks},
      {"revision", base_revision ? Json(*base_revision) : Json()},
      {"target_modules",
       target_expression && !all ? Json(*target_expression) : list_or_null(targets)},
      {"target_parameters", list_or_null(target_parameters)},
      {"task_type", "CAUSAL_LM"},
      {"trainable_token_indices", list_or_null(trainable_tokens)},
      {"use_dora", dora},
      {"use_rslora", rslora}};
}

}  // namespace sft
