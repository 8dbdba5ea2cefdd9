#include "model/lora_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"
#include "core/json_text.h"
#include "core/numbers.h"
#include "model/options.h"

namespace sft {

namespace {

// Fields of adapter_config.json that change what an adapter is, and are not built here.
constexpr std::array kNotBuilt{"alora_invocation_tokens",
                               "arrow_config",
                               "corda_config",
                               "eva_config",
                               "kasa_config",
                               "layer_replication",
                               "lora_ga_config",
                               "megatron_config",
                               "modules_to_save",
                               "monteclora_config",
                               "target_parameters",
                               "trainable_token_indices",
                               "use_bdlora",
                               "use_dora",
                               "use_qalora",
                               "lora_bias",
                               "velora_config"};

bool is_nothing(const Json& value) {
  return value.is_null() || value == false || (value.is_structured() && value.empty());
}

class ConfigReader {
 public:
  ConfigReader(const Json& json, std::string where) : json_(json), where_(std::move(where)) {}

  [[noreturn]] void fail(const std::string& key, const std::string& wanted) const {
    throw Error("C192",
                fmt::format("{}: {} is {}, wanted is {}", where_, key, to_text(json_[key]), wanted))
        .hint("use the adapter's folder as PEFT saved it");
  }
  bool has(const std::string& key) const { return json_.contains(key) && !json_[key].is_null(); }
  double number(const std::string& key, double least, double most, double otherwise) const {
    if (!has(key)) {
      return otherwise;
    }
    if (!json_[key].is_number() || !(json_[key].get<double>() >= least) ||
        !(json_[key].get<double>() <= most)) {
      fail(key, fmt::format("a number from {} to {}", least, most));
    }
    return json_[key].get<double>();
  }
  int64_t rank(const std::string& key, const Json& value) const {
    const auto whole = json_whole(value, 1, kMostRank);
    if (!whole) {
      fail(key, fmt::format("a whole number from 1 to {}", kMostRank));
    }
    return *whole;
  }
  bool flag(const std::string& key) const {
    if (has(key) && !json_[key].is_boolean()) {
      fail(key, "true or false");
    }
    return has(key) && json_[key].get<bool>();
  }
  std::vector<std::string> names(const std::string& key) const {
    std::vector<std::string> out;
    if (!has(key)) {
      return out;
    }
    if (!json_[key].is_array()) {
      fail(key, "a list of names");
    }
    for (const Json& name : json_[key]) {
      if (!name.is_string()) {
        fail(key, "a list of names");
      }
      out.push_back(name);
    }
    return out;
  }

  static constexpr int64_t kMostRank = 1 << 20;

 private:
  const Json& json_;
  std::string where_;
};

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

// A string is an expression, a list has names.
void read_names(const ConfigReader& reader, const Json& json, const std::string& key,
                std::vector<std::string>& names, std::optional<std::string>& expression) {
  if (reader.has(key) && json[key].is_string()) {
    expression = json[key].get<std::string>();
  } else {
    names = reader.names(key);
  }
}

}  // namespace

LoraConfig LoraConfig::from_options(const ModelOptions& o) {
  LoraConfig c;
  c.r = o.lora_r;
  c.alpha = static_cast<double>(o.lora_alpha);
  c.dropout = o.lora_dropout;
  c.rslora = o.use_rslora;
  // As TRL reads the flag: one value is an expression, several are names.
  if (o.lora_target_modules.size() == 1) {
    c.target_expression = o.lora_target_modules[0];
  } else {
    c.target_modules = o.lora_target_modules;
  }
  c.base_model = o.model_name_or_path.value_or("");
  check(c);
  return c;
}

LoraConfig LoraConfig::from_json(const Json& json, const std::string& where) {
  if (!json.is_object()) {
    throw Error("C192", fmt::format("{} is not a JSON object", where))
        .hint("use the adapter's folder as PEFT saved it");
  }
  const ConfigReader reader(json, where);
  if (!json.contains("peft_type") || json["peft_type"] != "LORA") {
    throw Error("C192",
                fmt::format("{}: peft_type is {}, and adapters here are LORA", where,
                            json.contains("peft_type") ? to_text(json["peft_type"]) : "not there"))
        .hint("merge it with PEFT first, and train the merged model");
  }
  for (const char* key : kNotBuilt) {
    if (json.contains(key) && !is_nothing(json[key])) {
      reader.fail(key, "none: it is not supported");
    }
  }
  if (json.contains("bias") && json["bias"] != "none") {
    reader.fail("bias", "\"none\"");
  }
  LoraConfig c;
  if (json.contains("r")) {
    c.r = reader.rank("r", json["r"]);
  }
  c.alpha = reader.number("lora_alpha", -1e6, 1e6, 8);
  c.dropout = reader.number("lora_dropout", 0, 0.999999, 0);
  c.rslora = reader.flag("use_rslora");
  read_names(reader, json, "target_modules", c.target_modules, c.target_expression);
  read_names(reader, json, "exclude_modules", c.exclude_modules, c.exclude_expression);
  std::optional<std::string> pattern;
  read_names(reader, json, "layers_pattern", c.layers_pattern, pattern);
  if (pattern && !pattern->empty()) {
    c.layers_pattern = {*pattern};
  }
  if (reader.has("layers_to_transform")) {
    const Json& layers = json["layers_to_transform"];
    for (const Json& layer : layers.is_array() ? layers : Json::array({layers})) {
      const auto number = json_whole(layer, 0, 1 << 20);
      if (!number) {
        reader.fail("layers_to_transform", "numbers of layers");
      }
      c.layers_to_transform.push_back(*number);
    }
  }
  for (const char* key : {"rank_pattern", "alpha_pattern"}) {
    if (!reader.has(key)) {
      continue;
    }
    if (!json[key].is_object()) {
      reader.fail(key, "an object of names and numbers");
    }
    for (const auto& [name, value] : json[key].items()) {
      if (std::string_view(key) == "rank_pattern") {
        c.rank_pattern[name] = reader.rank(key, value);
      } else if (value.is_number()) {
        c.alpha_pattern[name] = value.get<double>();
      } else {
        reader.fail(key, "an object of names and numbers");
      }
    }
  }
  if (reader.has("base_model_name_or_path") && json["base_model_name_or_path"].is_string()) {
    c.base_model = json["base_model_name_or_path"];
  }
  if (reader.has("revision") && json["revision"].is_string()) {
    c.base_revision = json["revision"];
  }
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
  const bool all = target_expression && *target_expression == "all-linear";
  return {{"alpha_pattern", alphas},
          {"auto_mapping", nullptr},
          {"base_model_name_or_path", base_model},
          {"bias", "none"},
          {"exclude_modules",
           exclude_expression ? Json(*exclude_expression) : list_or_null(exclude_modules)},
          {"fan_in_fan_out", false},
          {"inference_mode", true},
          {"init_lora_weights", true},
          {"layer_replication", nullptr},
          {"layers_pattern", list_or_null(layers_pattern)},
          {"layers_to_transform", list_or_null(layers_to_transform)},
          {"loftq_config", Json::object()},
          {"lora_alpha", whole_or_real(alpha)},
          {"lora_bias", false},
          {"lora_dropout", dropout},
          {"megatron_config", nullptr},
          {"megatron_core", "megatron.core"},
          {"modules_to_save", nullptr},
          {"peft_type", "LORA"},
          {"r", r},
          {"rank_pattern", ranks},
          {"revision", base_revision ? Json(*base_revision) : Json()},
          {"target_modules", target_expression && !all ? Json(*target_expression) : Json(targets)},
          {"target_parameters", nullptr},
          {"task_type", "CAUSAL_LM"},
          {"trainable_token_indices", nullptr},
          {"use_dora", false},
          {"use_rslora", rslora}};
}

}  // namespace sft
