#include "settings/sharding_config/accelerate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/strings.h"
#include "options/yaml_json.h"
#include "settings/sharding_config/deepspeed.h"
#include "settings/train_options.h"

namespace sft {
namespace {

// TRL's profiles, as far as they differ from each other.
struct Profile {
  const char *name, *type, *section;
};

constexpr Profile kProfiles[] = {
    {"single_gpu", "NO", "{}"},
    {"multi_gpu", "MULTI_GPU", "{}"},
    {"zero1", "DEEPSPEED", R"({"deepspeed_config": {"zero_stage": 1}})"},
    {"zero2", "DEEPSPEED", R"({"deepspeed_config": {"zero_stage": 2}})"},
    {"zero3", "DEEPSPEED", R"({"deepspeed_config": {"zero_stage": 3}})"},
    {"fsdp1", "FSDP",
     R"({"fsdp_config": {"fsdp_version": 1, "fsdp_reshard_after_forward": "FULL_SHARD"}})"},
    {"fsdp2", "FSDP",
     R"({"fsdp_config": {"fsdp_version": 2, "fsdp_reshard_after_forward": true}})"},
};

Json profile_values(const Profile& profile) {
  Json values = Json::parse(profile.section);
  values["distributed_type"] = profile.type;
  values["mixed_precision"] = "bf16";
  values["num_processes"] = std::string_view(profile.type) == "NO" ? 1 : 8;
  return values;
}

Json read_yaml(const std::string& name) {
  YAML::Node root;
  try {
    root = YAML::Load(read_text(name));
  } catch (const YAML::Exception& failure) {
    throw Error("C120", fmt::format("{} is not valid YAML: {}", name, failure.msg))
        .at(yaml_place(name, failure.mark));
  }
  if (!root.IsMap()) {
    throw Error("C120",
                fmt::format("{} is no configuration of accelerate: it is not a mapping", name));
  }
  return yaml_to_json(root, name);
}

// `flag`: how the name was given.
Json read_configuration(const std::string& name, const std::string& flag) {
  for (const Profile& profile : kProfiles) {
    if (name == profile.name) {
      return profile_values(profile);
    }
  }
  if (!is_file(name)) {
    Error error("C120", fmt::format("{} {}: there is no such file or profile", flag, name));
    const std::string near = nearest(name, accelerate_profiles());
    throw error.hint(near.empty()
                         ? fmt::format("profiles: {}", fmt::join(accelerate_profiles(), ", "))
                         : fmt::format("did you mean  {}?", near));
  }
  return name.ends_with(".json") ? read_config_json(name, name).value : read_yaml(name);
}

void say_without_effect(TrainOptions& o, const CheckedConfig& c) {
  if (!c.without_effect.empty()) {
    o.details.push_back(
        fmt::format("{}: without effect here: {}", c.name(), fmt::join(c.without_effect, ", ")));
  }
}

std::optional<int64_t> whole(const CheckedConfig& c, const char* key) {
  const Json value = c.get(key);
  return value.is_number() ? std::optional(static_cast<int64_t>(value.get<double>()))
                           : std::nullopt;
}

void apply_launch(TrainOptions& o, const CheckedConfig& c, const std::string& type, int64_t world) {
  LaunchRequest& launch = o.launch;
  launch.processes = whole(c, "num_processes");
  launch.machines = whole(c, "num_machines");
  launch.machine_rank = whole(c, "machine_rank");
  launch.main_port = whole(c, "main_process_port");
  if (c.get("main_process_ip").is_string()) {
    launch.main_address = c.get("main_process_ip").get<std::string>();
  }
  if (type == "NO") {
    launch.processes = 1;
  }
  if (launch.processes && *launch.processes != world) {
    o.notes.push_back(
        fmt::format("{} is written for {} processes, and {} run{}: how many there are is the "
                    "launcher's say (sft launch --nproc_per_node {}, torchrun)",
                    c.name(), *launch.processes, world, world == 1 ? "s" : "", *launch.processes));
  }
  if (c.flag("use_cpu", false)) {
    o.use_cpu = true;
  }
}

void apply_precision(TrainOptions& o, const CheckedConfig& c) {
  const Json value = c.get("mixed_precision");
  if (value.is_null()) {
    return;
  }
  const std::string word = value.is_boolean() ? "no" : value.get<std::string>();
  const bool by_flag = o.bf16.has_value() || o.fp16 || o.is_set("mixed_precision");
  if (by_flag) {
    const std::string flags = o.fp16 ? "fp16" : o.wants_bf16().value_or(false) ? "bf16" : "no";
    if (flags != word) {
      o.notes.push_back(fmt::format("{} says mixed_precision {}, the flags say {}: the flags hold",
                                    c.name(), word, flags));
    }
    return;
  }
  if (word == "fp16") {
    throw Error("C124",
                fmt::format("{} says mixed_precision fp16, and --fp16 is not given", c.name()))
        .hint("--fp16, or mixed_precision: bf16");
  }
  o.distributed.mixed_precision = word;
}

// The plugin's few keys are a small JSON of DeepSpeed.
Json deepspeed_json(const CheckedConfig& c) {
  Json zero{{"stage", c.number("deepspeed_config.zero_stage", 2)}};
  for (const char* part : {"optimizer", "param"}) {
    const std::string device =
        c.text(fmt::format("deepspeed_config.offload_{}_device", part), "none");
    if (device != "none") {
      zero[fmt::format("offload_{}", part)] = Json{{"device", device}};
    }
  }
  Json out{{"zero_optimization", zero}};
  for (const char* key : {"gradient_accumulation_steps", "gradient_clipping"}) {
    const Json value = c.get(fmt::format("deepspeed_config.{}", key));
    out[key] = value.is_null() ? Json("auto") : value;
  }
  return out;
}

void apply_plugin(TrainOptions& o, const CheckedConfig& c, int64_t world) {
  const std::string file = c.text("deepspeed_config.deepspeed_config_file", "");
  if (file.empty()) {
    apply_deepspeed(o, {c.name(), deepspeed_json(c)}, world);
    return;
  }
  std::vector<std::string> beside;
  for (const char* key : {"zero_stage", "gradient_accumulation_steps", "gradient_clipping",
                          "offload_optimizer_device", "offload_param_device"}) {
    if (c.has(fmt::format("deepspeed_config.{}", key))) {
      beside.emplace_back(key);
    }
  }
  if (!beside.empty()) {
    throw Error("C126", fmt::format("{} names {} and says {} beside it; the file's values would "
                                    "not count",
                                    c.name(), file, fmt::join(beside, ", ")))
        .hint("leave them to the JSON file");
  }
  apply_deepspeed(o, read_config_json(file, "deepspeed_config_file"), world);
}

Json without_prefix(const Json& section) {
  Json out = Json::object();
  for (const auto& [key, value] : section.items()) {
    out[key.starts_with("fsdp_") ? key.substr(5) : key] = value;
  }
  return out;
}

// The names of strategies in any case, and words of YAML 1.1 as booleans.
Json normalized(Json config) {
  for (auto& [key, value] : config.items()) {
    if (!value.is_string()) {
      continue;
    }
    const std::string text = value.get<std::string>();
    std::string upper = text;
    std::ranges::transform(upper, upper.begin(),
                           [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    if (upper == "TRUE" || upper == "FALSE") {
      value = upper == "TRUE";
    } else if (key == "reshard_after_forward" || key == "sharding_strategy" ||
               key == "backward_prefetch" || key == "auto_wrap_policy" ||
               key == "state_dict_type") {
      value = upper;
    }
  }
  return config;
}

void set_strategy(ShardingOptions& s, const CheckedConfig& c, Json strategy, const Ranks& ranks) {
  static constexpr const char* kByNumber[] = {"FULL_SHARD", "SHARD_GRAD_OP", "NO_SHARD",
                                              "HYBRID_SHARD", "HYBRID_SHARD_ZERO2"};
  if (strategy.is_number()) {
    const double number = strategy.get<double>();
    if (number < 1 || number > 5) {
      throw Error("C123", fmt::format("{}: sharding_strategy is {}, it goes from 1 to 5", c.name(),
                                      number));
    }
    strategy = kByNumber[static_cast<int>(number) - 1];
  }
  if (strategy.is_boolean()) {
    strategy = strategy.get<bool>() ? "FULL_SHARD" : "SHARD_GRAD_OP";
  }
  const std::string name = strategy.is_string() ? strategy.get<std::string>() : "FULL_SHARD";
  s.zero_stage = name == "NO_SHARD" ? 0 : name == "FULL_SHARD" || name == "HYBRID_SHARD" ? 3 : 2;
  s.zero_shard_group = name.starts_with("HYBRID") ? ranks.local : 0;
}

void apply_fsdp_config(TrainOptions& o, const std::string& name, const Json& values,
                       const Ranks& ranks) {
  const CheckedConfig c = check_config(normalized(without_prefix(values)), name, fsdp_keys());
  const double version = c.number("version", 2);
  if (version != 1 && version != 2) {
    throw Error("C123", fmt::format("{}: FSDP's version is {}, it is 1 or 2", name, version));
  }
  const int64_t flag = o.sharding.zero_stage;
  set_strategy(
      o.sharding, c,
      c.has("reshard_after_forward") ? c.get("reshard_after_forward") : c.get("sharding_strategy"),
      ranks);
  if (o.is_set("zero_stage") && flag != o.sharding.zero_stage) {
    throw Error("C124", fmt::format("{}: its sharding is stage {}, zero_stage is {}", name,
                                    o.sharding.zero_stage, flag));
  }
  if (c.flag("cpu_offload", false) || c.flag("offload_params", false)) {
    o.sharding.offload_optimizer = true;
    o.sharding.offload_param = o.sharding.zero_stage == 3;
  }
  if (c.flag("activation_checkpointing", false) && !o.is_set("gradient_checkpointing")) {
    o.gradient_checkpointing = "true";
  }
  o.notes.push_back(fmt::format(
      "{}: FSDP's sharding is stage {} here{}; masters, moments and sums "
      "are float32, where FSDP takes the type the model is loaded in",
      name, o.sharding.zero_stage, o.sharding.zero_shard_group > 0 ? " within each machine" : ""));
  say_without_effect(o, c);
}

}  // namespace

std::vector<std::string> accelerate_profiles() {
  std::vector<std::string> names;
  for (const Profile& profile : kProfiles) {
    names.emplace_back(profile.name);
  }
  return names;
}

void apply_accelerate(TrainOptions& o, const std::string& name, const std::string& flag,
                      const Ranks& ranks) {
  Json values = read_configuration(name, flag);
  const Json fsdp = values.contains("fsdp_config") ? values["fsdp_config"] : Json();
  if (!fsdp.is_null()) {
    values["fsdp_config"] = Json::object();  // it has a table of its own
  }
  const CheckedConfig c = check_config(values, name, accelerate_keys());
  if (!c.has("distributed_type")) {
    throw Error("C129", fmt::format("{} has no distributed_type", name))
        .hint("distributed_type: DEEPSPEED, FSDP, MULTI_GPU, MULTI_CPU or \"NO\"");
  }
  const std::string type = c.get("distributed_type").is_boolean()
                               ? "NO"  // a bare NO is a boolean in YAML 1.1
                               : c.text("distributed_type", "NO");
  const bool other = !o.distributed.deepspeed.is_null() || o.distributed.fsdp.has_value();
  if ((type == "DEEPSPEED" || type == "FSDP") && other) {
    throw Error("C126", fmt::format("{} has distributed_type {}, and {} is given too; one of them "
                                    "can say how state is sharded",
                                    name, type, o.distributed.fsdp ? "--fsdp" : "--deepspeed"));
  }
  apply_launch(o, c, type, ranks.all);
  apply_precision(o, c);
  if (type == "DEEPSPEED") {
    apply_plugin(o, c, ranks.all);
  } else if (type == "FSDP") {
    apply_fsdp_config(o, name, fsdp.is_null() ? Json::object() : fsdp, ranks);
  }
  say_without_effect(o, c);
}

void apply_fsdp(TrainOptions& o, const std::string& fsdp, const Json& config, const Ranks& ranks) {
  Json values = config.is_null() ? Json::object() : without_prefix(config);
  std::string words = to_lower(fsdp);
  std::ranges::replace(words, ',', ' ');
  if (words == "false" || words == "no" || words.empty()) {
    return;
  }
  for (const std::string& word : split(words, ' ')) {
    if (word == "offload") {
      values.emplace("cpu_offload", true);
    } else if (word == "full_shard" || word == "shard_grad_op" || word == "no_shard" ||
               word == "hybrid_shard" || word == "hybrid_shard_zero2") {
      values.emplace("reshard_after_forward", word);
    } else if (word != "auto_wrap" && word != "true" && !word.empty()) {
      const std::vector<std::string> known{
          "full_shard",         "shard_grad_op", "no_shard",  "hybrid_shard",
          "hybrid_shard_zero2", "offload",       "auto_wrap", "true"};
      throw Error("C123", fmt::format("--fsdp knows no \"{}\" (it takes {})", word,
                                      fmt::join(known, ", ")));
    }
  }
  apply_fsdp_config(o, "--fsdp", values, ranks);
}

}  // namespace sft
