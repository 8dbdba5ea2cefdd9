#include <fmt/format.h>

#include <algorithm>

#include "core/numbers.h"
#include "hub/cache.h"
#include "run/check/checks.h"

namespace sft {

namespace {

const std::vector<Reader> kByPeft{Reader::transformers4, Reader::transformers5, Reader::lm_eval};
const std::vector<Reader> kAll{Reader::transformers4, Reader::transformers5, Reader::vllm,
                               Reader::sglang, Reader::lm_eval};
constexpr const char* kConfig = "adapter_config.json";

void check_rank(const ModelFolder& folder, Findings& out) {
  const auto rank = json_whole(folder.adapter_config.get("r"), 1, kMostCount);
  const Json pattern = folder.adapter_config.get("rank_pattern");
  if (!rank || (pattern.is_object() && !pattern.empty())) {
    return;
  }
  for (const auto& [name, tensor] : folder.tensors) {
    if (name.ends_with("lora_A.weight") && !tensor.shape.empty() && tensor.shape[0] != *rank) {
      out.push_back({"adapter-rank",
                     fmt::format("{}: r", kConfig),
                     fmt::format("r is {}, and {} has rank {}", *rank, name, tensor.shape[0]),
                     fmt::format("set r to {}", tensor.shape[0]),
                     effects({{Effect::refuses, kAll}}),
                     {{kConfig, "r", tensor.shape[0]}}});
      return;
    }
  }
}

// Whether a module's name is one that the list names, as PEFT compares: whole, or its end.
bool is_target(const std::string& module, const Json& targets) {
  return std::ranges::any_of(targets, [&](const Json& one) {
    const std::string name = one.is_string() ? one.get<std::string>() : "";
    return module == name || module.ends_with("." + name);
  });
}

void check_targets(const ModelFolder& folder, Findings& out) {
  const Json targets = folder.adapter_config.get("target_modules");
  if (!targets.is_array()) {
    return;  // an expression
  }
  for (const auto& [name, tensor] : folder.tensors) {
    const size_t end = name.find(".lora_A");
    if (end != std::string::npos && !is_target(name.substr(0, end), targets)) {
      out.push_back({"adapter-targets", fmt::format("{}: target_modules", kConfig),
                     fmt::format("target_modules does not name {}, which the adapter has: PEFT "
                                 "leaves it out without a word",
                                 name.substr(0, end)),
                     "name every module that has tensors", effects({{Effect::wrong, kByPeft}})});
      return;
    }
  }
}

}  // namespace

void check_adapter(const ModelFolder& folder, Findings& out) {
  if (!folder.adapter_config.usable()) {
    out.push_back({"adapter-unreadable", kConfig,
                   "adapter_config.json cannot be read: " + folder.adapter_config.problem,
                   "train or fetch the adapter again", effects({{Effect::refuses, kAll}})});
    return;
  }
  if (!folder.adapter_config.get("peft_type").is_string()) {
    out.push_back({"adapter-kind",
                   fmt::format("{}: peft_type", kConfig),
                   "adapter_config.json has no peft_type",
                   "set peft_type to LORA",
                   effects({{Effect::refuses, kAll}}),
                   {{kConfig, "peft_type", "LORA"}}});
  }
  const Json base = folder.adapter_config.get("base_model_name_or_path");
  const std::string name = base.is_string() ? base.get<std::string>() : "";
  if (name.empty()) {
    out.push_back({"adapter-base", fmt::format("{}: base_model_name_or_path", kConfig),
                   "adapter_config.json does not say what it is an adapter of",
                   "name the base model", effects({{Effect::refuses, kByPeft}})});
  } else if (!is_hub_id(name) && !is_there(name)) {
    out.push_back({"adapter-base", fmt::format("{}: base_model_name_or_path", kConfig),
                   fmt::format("the base is {}, which is not there", name),
                   "name the base by its place on the hub, or by a path that is there",
                   effects({{Effect::refuses, kByPeft}})});
  }
  if (!folder.has("adapter_model.safetensors") && !folder.has("adapter_model.bin")) {
    out.push_back({"adapter-weights", "adapter_model.safetensors", "there are no weights",
                   "train or fetch the adapter again", effects({{Effect::refuses, kAll}})});
  }
  for (const auto& [file, why] : folder.damaged) {
    out.push_back({"weights-damaged", file, fmt::format("{} cannot be read: {}", file, why),
                   "fetch the file again", effects({{Effect::refuses, kAll}})});
  }
  check_rank(folder, out);
  check_targets(folder, out);
}

}  // namespace sft
