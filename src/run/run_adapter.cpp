#include "run/run_adapter.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <set>

namespace sft {

RunAdapter RunAdapter::add_to(Model& shape, const TrainOptions& options, const AdapterFiles* given,
                              const StoredType& stored) {
  RunAdapter adapter;
  if (given != nullptr) {
    adapter.config = given->config;
    adapter.targets = given->targets(shape);
    adapter.start = given->values;
  } else {
    adapter.config = LoraConfig::from_options(options.model);
    adapter.targets = find_targets(shape, adapter.config);
    adapter.start = draw_adapters(adapter.targets, static_cast<uint64_t>(options.seed));
  }
  add_adapters(shape, adapter.targets, adapter.config.dropout, stored);
  return adapter;
}

// As they were given, or the last names of what was found.
std::vector<std::string> RunAdapter::target_names() const {
  if (!config.target_modules.empty()) {
    return config.target_modules;
  }
  std::set<std::string> names;
  for (const AdapterTarget& t : targets) {
    names.insert(last_name(t.module));
  }
  return {names.begin(), names.end()};
}

Json RunAdapter::json() const { return config.to_json(target_names()); }

std::string RunAdapter::words() const {
  return fmt::format("adapters of rank {}, alpha {}{}, on {} layers ({})", config.r, config.alpha,
                     config.rslora ? " by the root of the rank" : "", targets.size(),
                     fmt::join(target_names(), ", "));
}

std::vector<std::string> adapter_options_given(const ModelOptions& o) {
  std::vector<std::string> given;
  const ModelOptions defaults;
  const auto add = [&](bool differs, const char* name) {
    if (differs) {
      given.emplace_back(name);
    }
  };
  add(o.lora_r != defaults.lora_r, "--lora_r");
  add(o.lora_alpha != defaults.lora_alpha, "--lora_alpha");
  add(o.lora_dropout != defaults.lora_dropout, "--lora_dropout");
  add(!o.lora_target_modules.empty(), "--lora_target_modules");
  add(o.use_rslora, "--use_rslora");
  return given;
}

}  // namespace sft
