#include "model/lora_fields.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "core/error.h"
#include "core/json_text.h"
#include "core/numbers.h"
#include "core/strings.h"

namespace sft {

namespace {

constexpr int64_t kMostRank = 1 << 20;

// Fields that change what an adapter is, and are not built here.
constexpr std::array kNotBuilt{"alora_invocation_tokens",
                               "arrow_config",
                               "corda_config",
                               "eva_config",
                               "kasa_config",
                               "layer_replication",
                               "lora_bias",
                               "lora_ga_config",
                               "megatron_config",
                               "monteclora_config",
                               "use_bdlora",
                               "use_qalora",
                               "velora_config"};

// Fields that are read here.
constexpr std::array kRead{"alpha_pattern",
                           "base_model_name_or_path",
                           "bias",
                           "ensure_weight_tying",
                           "exclude_modules",
                           "init_lora_weights",
                           "layers_pattern",
                           "layers_to_transform",
                           "lora_alpha",
                           "lora_dropout",
                           "modules_to_save",
                           "peft_type",
                           "r",
                           "rank_pattern",
                           "revision",
                           "target_modules",
                           "target_parameters",
                           "task_type",
                           "trainable_token_indices",
                           "use_dora",
                           "use_rslora"};

// Fields that change nothing here: notes, and settings of what is not built.
constexpr std::array kNotes{"auto_mapping",   "fan_in_fan_out",   "inference_mode",
                            "loftq_config",   "megatron_core",    "peft_version",
                            "runtime_config", "qalora_group_size"};

constexpr std::array<std::pair<const char*, TrainedBiases>, 3> kBiases{
    {{"none", TrainedBiases::none},
     {"all", TrainedBiases::all},
     {"lora_only", TrainedBiases::lora_only}}};

bool is_nothing(const Json& value) {
  return value.is_null() || value == false || (value.is_structured() && value.empty());
}

template <class Names>
bool among(const Names& names, const std::string& key) {
  return std::ranges::find(names, key) != names.end();
}

}  // namespace

const char* LoraFields::name_of(TrainedBiases biases) {
  return std::ranges::find(kBiases, biases, [](const auto& row) { return row.second; })->first;
}

LoraFields::LoraFields(const Json& json, std::string where)
    : json_(json), where_(std::move(where)) {
  if (!json.is_object()) {
    throw Error("C192", fmt::format("{} is not a JSON object", where_))
        .hint("use the adapter's folder as PEFT saved it");
  }
}

void LoraFields::check_kind() const {
  if (!json_.contains("peft_type") || json_["peft_type"] != "LORA") {
    throw Error("C192", fmt::format("{}: peft_type is {}, and adapters here are LORA", where_,
                                    json_.contains("peft_type") ? to_text(json_["peft_type"])
                                                                : "not there"))
        .hint("merge it with PEFT first, and train the merged model");
  }
}

void LoraFields::fail(const std::string& key, const std::string& wanted) const {
  throw Error("C192",
              fmt::format("{}: {} is {}, wanted is {}", where_, key, to_text(json_[key]), wanted))
      .hint("docs/adapters.md lists the fields and what they may be");
}

bool LoraFields::has(const std::string& key) const {
  return json_.contains(key) && !json_[key].is_null();
}

void LoraFields::check_names() const {
  for (const auto& [key, value] : json_.items()) {
    if (among(kNotBuilt, key)) {
      if (!is_nothing(value)) {
        fail(key, "none: it is not supported");
      }
    } else if (!among(kRead, key) && !among(kNotes, key) && !is_nothing(value)) {
      fail_unknown(key);
    }
  }
}

void LoraFields::fail_unknown(const std::string& key) const {
  throw Error("C192", fmt::format("{}: PEFT's LoraConfig has no field {}", where_, key))
      .hint(fmt::format("the fields that are read are {}", fmt::join(kRead, ", ")));
}

void LoraFields::number(const char* key, double least, double most, double& into) const {
  if (!has(key)) {
    return;
  }
  if (!json_[key].is_number() || !(json_[key].get<double>() >= least) ||
      !(json_[key].get<double>() <= most)) {
    fail(key, fmt::format("a number from {} to {}", least, most));
  }
  into = json_[key].get<double>();
}

int64_t LoraFields::rank(const char* key, const Json& value) const {
  const auto whole = json_whole(value, 1, kMostRank);
  if (!whole) {
    fail(key, fmt::format("a whole number from 1 to {}", kMostRank));
  }
  return *whole;
}

void LoraFields::flag(const char* key, bool& into) const {
  if (!has(key)) {
    return;
  }
  if (!json_[key].is_boolean()) {
    fail(key, "true or false");
  }
  into = json_[key].get<bool>();
}

std::vector<std::string> LoraFields::names(const char* key) const {
  std::vector<std::string> out;
  if (!has(key)) {
    return out;
  }
  if (!json_[key].is_array()) {
    fail(key, "a list of names");
  }
  for (const Json& name : json_[key]) {
    if (!name.is_string() || name.get_ref<const std::string&>().empty()) {
      fail(key, "a list of names");
    }
    out.push_back(name);
  }
  return out;
}

// A string is an expression, a list has names.
void LoraFields::names_or_expression(const char* key, std::vector<std::string>& list,
                                     std::optional<std::string>& expression) const {
  if (!has(key)) {
    return;
  }
  list.clear();
  expression.reset();
  if (json_[key].is_string()) {
    expression = json_[key].get<std::string>();
  } else {
    list = names(key);
  }
}

void LoraFields::init(LoraConfig& c) const {
  const char* const key = "init_lora_weights";
  if (!has(key)) {
    return;
  }
  const Json& value = json_[key];
  if (value.is_boolean()) {
    c.init = value.get<bool>() ? "true" : "false";
    return;
  }
  const char* const wanted =
      "true, false, \"gaussian\", \"pissa\", \"pissa_niter_<iterations>\" or \"olora\"";
  if (!value.is_string()) {
    fail(key, wanted);
  }
  c.init = value.get<std::string>();
  if (const std::string low = to_lower(c.init); low == "gaussian" || low == "olora") {
    c.init = low;
  }
  constexpr std::string_view kIterated = "pissa_niter_";
  if (c.init.starts_with(kIterated)) {
    int iterations = 0;
    const char* const end = c.init.data() + c.init.size();
    const auto [rest, status] = std::from_chars(c.init.data() + kIterated.size(), end, iterations);
    if (status == std::errc() && rest == end && iterations >= 0 && iterations <= 1000) {
      return;
    }
    fail(key, wanted);
  }
  constexpr std::array kKnown{"gaussian", "pissa", "olora", "eva", "orthogonal"};
  if (!among(kKnown, c.init)) {
    fail(key, wanted);
  }
}

void LoraFields::check_new(const LoraConfig& c) const {
  for (const auto& [key, value] : json_.items()) {
    if (!among(kNotBuilt, key) && !among(kRead, key) && !among(kNotes, key)) {
      fail_unknown(key);
    }
  }
  if (c.init == "eva" || c.init == "orthogonal") {
    fail("init_lora_weights",
         "true, false, \"gaussian\", \"pissa\", \"pissa_niter_<iterations>\" or \"olora\"");
  }
}

void LoraFields::biases(LoraConfig& c) const {
  if (!has("bias")) {
    return;
  }
  const auto row =
      std::ranges::find_if(kBiases, [&](const auto& r) { return json_["bias"] == r.first; });
  if (row == kBiases.end()) {
    fail("bias", "\"none\", \"all\" or \"lora_only\"");
  }
  c.biases = row->second;
}

void LoraFields::layers(LoraConfig& c) const {
  std::optional<std::string> pattern;
  names_or_expression("layers_pattern", c.layers_pattern, pattern);
  if (pattern && !pattern->empty()) {
    c.layers_pattern = {*pattern};
  }
  if (has("layers_to_transform")) {
    c.layers_to_transform.clear();
    const Json& layers = json_["layers_to_transform"];
    for (const Json& layer : layers.is_array() ? layers : Json::array({layers})) {
      const auto number = json_whole(layer, 0, 1 << 20);
      if (!number) {
        fail("layers_to_transform", "numbers of layers");
      }
      c.layers_to_transform.push_back(*number);
    }
  }
  if (c.target_expression) {
    for (const char* key : {"layers_to_transform", "layers_pattern"}) {
      if (has(key) && !is_nothing(json_[key])) {
        fail(key, "none: target_modules is an expression, which says which layers it means");
      }
    }
  }
  if (!c.layers_pattern.empty() && !has("layers_to_transform")) {
    fail("layers_pattern", "none where layers_to_transform is none");
  }
}

void LoraFields::patterns(LoraConfig& c) const {
  for (const char* key : {"rank_pattern", "alpha_pattern"}) {
    if (!has(key)) {
      continue;
    }
    if (!json_[key].is_object()) {
      fail(key, "an object of names and numbers");
    }
    for (const auto& [name, value] : json_[key].items()) {
      if (std::string_view(key) == "rank_pattern") {
        c.rank_pattern[name] = rank(key, value);
      } else if (value.is_number()) {
        c.alpha_pattern[name] = value.get<double>();
      } else {
        fail(key, "an object of names and numbers");
      }
    }
  }
}

std::vector<int64_t> LoraFields::token_list(const Json& list) const {
  const char* const key = "trainable_token_indices";
  if (!list.is_array() || list.empty()) {
    fail(key, "a list of tokens' numbers, or an object of embeddings' names and such lists");
  }
  std::vector<int64_t> out;
  for (const Json& value : list) {
    const auto token = json_whole(value, 0, int64_t{1} << 31);
    if (!token) {
      fail(key, "tokens' numbers");
    }
    if (std::ranges::find(out, *token) != out.end()) {
      fail(key, fmt::format("each token once; {} stands there twice", *token));
    }
    out.push_back(*token);
  }
  return out;
}

void LoraFields::tokens(LoraConfig& c) const {
  const char* const key = "trainable_token_indices";
  if (!has(key)) {
    return;
  }
  c.trainable_tokens.clear();
  if (!json_[key].is_object()) {
    c.trainable_tokens["embed_tokens"] = token_list(json_[key]);
    return;
  }
  for (const auto& [name, list] : json_[key].items()) {
    c.trainable_tokens[name] = token_list(list);
  }
}

void LoraFields::read(LoraConfig& c) const {
  check_names();
  if (has("peft_type")) {
    check_kind();
  }
  if (has("task_type") && json_["task_type"] != "CAUSAL_LM") {
    fail("task_type", "\"CAUSAL_LM\": models here continue text");
  }
  if (has("r")) {
    c.r = rank("r", json_["r"]);
  }
  number("lora_alpha", -1e6, 1e6, c.alpha);
  number("lora_dropout", 0, 0.999999, c.dropout);
  flag("use_rslora", c.rslora);
  flag("use_dora", c.dora);
  flag("ensure_weight_tying", c.keeps_tied);
  names_or_expression("target_modules", c.target_modules, c.target_expression);
  names_or_expression("exclude_modules", c.exclude_modules, c.exclude_expression);
  if (has("modules_to_save")) {
    c.modules_to_save = names("modules_to_save");
  }
  if (has("target_parameters")) {
    c.target_parameters = names("target_parameters");
  }
  init(c);
  biases(c);
  layers(c);
  patterns(c);
  tokens(c);
  if (has("base_model_name_or_path") && json_["base_model_name_or_path"].is_string()) {
    c.base_model = json_["base_model_name_or_path"];
  }
  if (has("revision") && json_["revision"].is_string()) {
    c.base_revision = json_["revision"];
  }
}

}  // namespace sft
