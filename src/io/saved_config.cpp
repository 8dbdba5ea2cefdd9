#include "io/saved_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "hub/cache.h"

namespace sft {

namespace {

bool contains(const std::vector<int64_t>& ids, int64_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

// The part of rope_parameters that transformers 4 calls rope_scaling; null for a plain rope.
Json scaling_of(const Json& parameters) {
  if (parameters.value("rope_type", "default") == "default") {
    return nullptr;
  }
  Json scaling = parameters;
  scaling.erase("rope_theta");
  return scaling;
}

// Phi-3's, of which transformers 4 takes three fields and no more; null where there are others.
Json longrope_of_phi3(const Json& parameters) {
  Json scaling = {{"type", "longrope"}};
  for (const auto& [key, value] : parameters.items()) {
    if (key == "short_factor" || key == "long_factor") {
      scaling[key] = value;
    } else if (key != "rope_type" && key != "type" && key != "rope_theta" &&
               key != "partial_rotary_factor" && key != "original_max_position_embeddings") {
      return nullptr;
    }
  }
  return scaling;
}

// The other way round. Old files call the type "type".
Json parameters_of(const Json& scaling, const Json& theta) {
  Json parameters = scaling.is_object() ? scaling : Json::object();
  if (!parameters.contains("rope_type")) {
    parameters["rope_type"] = parameters.value("type", "default");
  }
  parameters.erase("type");
  parameters["rope_theta"] = theta;
  return parameters;
}

// Of other families it takes the factor for the ratio of the two lengths, whatever is given: what
// follows from the factor is said in its place.
Json longrope_of_others(const Json& parameters) {
  Json scaling = scaling_of(parameters);
  const double factor = parameters.value("factor", 0.0);
  const double original = parameters.value("original_max_position_embeddings", 0.0);
  if (factor > 0 && original > 1 && !parameters.contains("attention_factor")) {
    scaling["attention_factor"] =
        factor > 1 ? std::sqrt(1 + std::log(factor) / std::log(original)) : 1.0;
  }
  return scaling;
}

// gpt-oss has a scaling where its config.json in transformers 4 has none.
void set_scaling(JsonEditor& config, const Json& scaling) {
  const bool said =
      config.has("rope_scaling") || config.json().value("model_type", "") == "gpt_oss";
  if (!scaling.is_null() || said) {
    config.set("rope_scaling", scaling);
  }
}

void add_old_rope_form(JsonEditor& config) {
  const Json parameters = config.json()["rope_parameters"];
  if (parameters.contains("rope_theta")) {
    config.set("rope_theta", parameters["rope_theta"]);
    const bool longrope = parameters.value("rope_type", "") == "longrope";
    const bool phi3 = longrope && config.json().value("model_type", "") == "phi3";
    set_scaling(config, phi3       ? longrope_of_phi3(parameters)
                        : longrope ? longrope_of_others(parameters)
                                   : scaling_of(parameters));
    for (const char* key : {"partial_rotary_factor", "original_max_position_embeddings"}) {
      const bool beside = longrope || key == std::string_view("partial_rotary_factor");
      if (beside && parameters.contains(key) && !config.has(key)) {
        config.set(key, parameters[key]);
      }
    }
    return;
  }
  const auto part = [&](const char* layer_type) {
    return parameters.value(layer_type, Json::object());
  };
  const Json full = part("full_attention");
  const Json sliding = part("sliding_attention");
  if (full.is_object() && full.value("rope_type", "") == "proportional") {
    return;  // younger than the old form
  }
  if (full.is_object() && full.contains("rope_theta")) {
    config.set("rope_theta", full["rope_theta"]);
    set_scaling(config, scaling_of(full));
  }
  if (sliding.is_object() && sliding.contains("rope_theta")) {
    config.set("rope_local_base_freq", sliding["rope_theta"]);
  }
}

void add_new_rope_form(JsonEditor& config) {
  const Json& json = config.json();
  const Json scaling = json.contains("rope_scaling") ? json["rope_scaling"] : Json();
  const Json full = parameters_of(scaling, json["rope_theta"]);
  if (json.contains("rope_local_base_freq")) {
    config.set("rope_parameters",
               {{"full_attention", full},
                {"sliding_attention", parameters_of(nullptr, json["rope_local_base_freq"])}});
  } else {
    config.set("rope_parameters", full);
  }
}

bool is_private_path(const Json& value) {
  return !value.is_string() || !is_hub_id(value.get<std::string>());
}

}  // namespace

std::vector<int64_t> eos_ids(const Json& config) {
  std::vector<int64_t> ids;
  const Json value = config.contains("eos_token_id") ? config["eos_token_id"] : Json();
  for (const Json& id : value.is_array() ? value : Json::array({value})) {
    if (id.is_number_integer()) {
      ids.push_back(id.get<int64_t>());
    }
  }
  return ids;
}

void complete_rope_forms(JsonEditor& config) {
  const auto has = [&](const char* key) {
    return config.has(key) && !config.json()[key].is_null();
  };
  if (has("rope_parameters") && config.json()["rope_parameters"].is_object()) {
    if (!has("rope_theta")) {
      add_old_rope_form(config);
    }
  } else if (has("rope_theta")) {
    add_new_rope_form(config);
  }
}

namespace {

// The text model's own fields, where config.json has them in a part of it.
void edit_part(JsonEditor& config, const SavedFacts& facts) {
  constexpr const char* kPart = "text_config";
  JsonEditor part(to_text(config.json()[kPart], 2), kPart);
  complete_rope_forms(part);
  part.set("tie_word_embeddings", facts.tied);
  if (facts.vocab_size > 0) {
    part.set("vocab_size", facts.vocab_size);
  }
  if (part.has("use_cache")) {
    part.set("use_cache", true);
  }
  if (part.has("quantization_config")) {
    part.erase("quantization_config");
  }
  config.set(kPart, part.json());
}

}  // namespace

void edit_config(JsonEditor& config, const SaveOptions& options, const SavedFacts& facts) {
  const bool has_part = config.has("text_config");
  config.set("torch_dtype", name_of(options.dtype));
  config.set("dtype", name_of(options.dtype));
  if (has_part) {
    edit_part(config, facts);
  } else {
    complete_rope_forms(config);
  }
  if (config.json().value("model_type", "") == "qwen3_moe" && config.has("num_local_experts") &&
      !config.has("num_experts")) {  // transformers 5 has renamed it
    config.set("num_experts", config.json()["num_local_experts"]);
  }
  if (options.turn_end && !contains(eos_ids(config.json()), options.turn_end->id)) {
    config.set("eos_token_id", options.turn_end->id);
  }
  if (options.eos && eos_ids(config.json()).empty()) {
    config.set("eos_token_id", options.eos->id);
  }
  if (config.has("use_cache")) {
    config.set("use_cache", true);
  }
  if (!options.quantization.is_null()) {
    config.set("quantization_config", options.quantization);
  } else if (config.has("quantization_config")) {  // weights are saved as plain numbers
    config.erase("quantization_config");
  }
  config.set("tie_word_embeddings", facts.tied);
  if (facts.vocab_size > 0 && !has_part) {
    config.set("vocab_size", facts.vocab_size);
  }
  if (config.has("_name_or_path") && is_private_path(config.json()["_name_or_path"])) {
    config.erase("_name_or_path");
  }
  if (!options.sft_version.empty()) {
    config.set("sft_version", options.sft_version);
  }
}

void edit_generation_config(JsonEditor& generation, const Json& source_config,
                            const SaveOptions& options) {
  std::vector<int64_t> ids = eos_ids(generation.json());
  const bool had_none = ids.empty();
  for (const int64_t id : eos_ids(source_config)) {
    // A list of its own is the authors' choice; only an unset one is filled from config.json.
    if (had_none || (options.turn_end && !contains(ids, options.turn_end->id))) {
      if (!contains(ids, id)) {
        ids.push_back(id);
      }
    }
  }
  if (options.turn_end && !contains(ids, options.turn_end->id)) {
    ids.insert(ids.begin(), options.turn_end->id);
  }
  if (ids.empty() && options.eos) {
    ids.push_back(options.eos->id);
  }
  if (ids != eos_ids(generation.json())) {
    generation.set("eos_token_id", ids.size() == 1 ? Json(ids.front()) : Json(ids));
  }
  const bool has_pad =
      generation.has("pad_token_id") && !generation.json()["pad_token_id"].is_null();
  if (options.pad && !has_pad) {
    generation.set("pad_token_id", options.pad->id);
  }
}

void edit_tokenizer_config(JsonEditor& tokenizer, const Json& source_config,
                           const std::map<std::string, std::string>& templates,
                           const SaveOptions& options) {
  const Json& json = tokenizer.json();
  // Transformers 5's name for "whatever tokenizer.json says", which transformers 4 does not know.
  if (!tokenizer.has("tokenizer_class") || json["tokenizer_class"] == "TokenizersBackend") {
    tokenizer.set("tokenizer_class", "PreTrainedTokenizerFast");
  }
  // Transformers 4 wants a dictionary here and has another key for a list.
  if (tokenizer.has("extra_special_tokens") && json["extra_special_tokens"].is_array()) {
    const Json tokens = json["extra_special_tokens"];
    tokenizer.erase("extra_special_tokens");
    if (!tokenizer.has("additional_special_tokens") && !tokens.empty()) {
      tokenizer.set("additional_special_tokens", tokens);
    }
  }
  if (options.turn_end && !contains(eos_ids(source_config), options.turn_end->id)) {
    tokenizer.set("eos_token", options.turn_end->text);
  }
  if (options.pad) {
    tokenizer.set("pad_token", options.pad->text);
  }
  if (templates.size() == 1 && templates.contains("default")) {
    tokenizer.set("chat_template", templates.at("default"));
  } else if (!templates.empty()) {
    Json list = Json::array();
    for (const auto& [name, text] : templates) {
      list.push_back({{"name", name}, {"template", text}});
    }
    tokenizer.set("chat_template", list);
  }
  for (const auto& [key, value] : options.tokenizer_config.items()) {
    tokenizer.set(key, value);
  }
}

Json special_tokens_map(const Json& tokenizer_config) {
  static constexpr std::array<const char*, 7> kNames{
      "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};
  Json map = Json::object();
  if (tokenizer_config.contains("additional_special_tokens") &&
      tokenizer_config["additional_special_tokens"].is_array()) {
    map["additional_special_tokens"] = tokenizer_config["additional_special_tokens"];
  }
  for (const char* name : kNames) {
    if (!tokenizer_config.contains(name) || tokenizer_config[name].is_null()) {
      continue;
    }
    map[name] = tokenizer_config[name];
    if (map[name].is_object()) {
      map[name].erase("__type");
    }
  }
  return map;
}

}  // namespace sft
