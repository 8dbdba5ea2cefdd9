#include "run/run_adapter.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <set>

#include "core/error.h"
#include "io/token_donor.h"
#include "state/trained_types.h"

namespace sft {

namespace {

// PiSSA and OLoRA take their beginning out of the weight itself.
void check_plain_base(const AdapterPlan& plan, const LoraConfig& config, const StoredType& stored) {
  for (const AdapterTarget& t : plan.targets) {
    if (t.kind == AdapterTarget::Kind::embedding) {
      continue;
    }
    if (const auto type = stored(t.module + ".weight"); type && is_packed(*type)) {
      throw Error("C201", fmt::format("init_lora_weights {} changes the base, which is kept in {}",
                                      config.init, name_of(*type)))
          .hint("leave init_lora_weights at true, or keep the base as it is");
    }
  }
}

}  // namespace

RunAdapter RunAdapter::add_to(Model& shape, const TrainOptions& options, const LoraConfig& config,
                              const AdapterFiles* given, uint64_t before,
                              const StoredType& stored) {
  AdapterPlan plan = given != nullptr ? given->plan(shape) : plan_adapters(shape, config);
  AdapterStart start =
      given != nullptr
          ? AdapterStart::given(config, plan, given->values)
          : AdapterStart::drawn(config, plan, static_cast<uint64_t>(options.seed), before);
  if (config.changes_base() && stored) {
    check_plain_base(plan, config, stored);
  }
  RunAdapter adapter{config, std::move(plan), std::move(start)};
  add_adapters(shape, adapter.plan, config, stored);
  adapter.start.keep_as(stored, shape.packed_from);
  if (given == nullptr && options.model.dtype == "bfloat16") {
    adapter.start.round_to(DType::bf16);
  } else if (holds_narrower(shape)) {
    adapter.start.round_to(shape.trained_type, false);
  }
  adapter.start.zero(shape.zeroed);
  return adapter;
}

// As they were given, or the last names of what was found.
std::vector<std::string> RunAdapter::target_names() const {
  if (!plan.config.target_modules.empty()) {
    return plan.config.target_modules;
  }
  std::set<std::string> names;
  for (const AdapterTarget& t : plan.targets) {
    if (t.parameter.empty()) {
      names.insert(last_name(t.module));
    }
  }
  return {names.begin(), names.end()};
}

Json RunAdapter::json() const { return plan.config.to_json(target_names()); }

std::string RunAdapter::words() const {
  std::string kind = config.dora ? "DoRA of rank" : "adapters of rank";
  if (config.init != "true") {
    kind = fmt::format("{} ({}) of rank", config.dora ? "DoRA" : "adapters", config.init);
  }
  std::string text = fmt::format("{} {}, alpha {}{}, on {} layers ({})", kind, config.r,
                                 config.alpha, config.rslora ? " by the root of the rank" : "",
                                 plan.targets.size(), fmt::join(target_names(), ", "));
  if (!config.modules_to_save.empty()) {
    text += fmt::format("; whole: {}", fmt::join(config.modules_to_save, ", "));
  }
  for (const auto& [module, rows] : plan.tokens) {
    text += fmt::format("; {} words of {}", rows.size(), module);
  }
  return text;
}

// PEFT keeps the tables that have an adapter, and both where the vocabulary has grown.
std::map<std::string, std::string> RunAdapter::tables(const Model& shape, bool resized) const {
  std::map<std::string, std::string> out;
  for (const AdapterTarget& t : plan.targets) {
    if (t.kind == AdapterTarget::Kind::embedding || t.kind == AdapterTarget::Kind::head) {
      out[base_tensor(t.module)] =
          t.module == kHeadModule ? shape.head_name() : std::string(kEmbeddingWeight);
    }
  }
  if (resized && !plan.whole.contains(kEmbeddingModule)) {
    out[plan.tokens.contains(kEmbeddingModule) ? grown_tensor(kEmbeddingModule)
                                               : base_tensor(kEmbeddingModule)] = kEmbeddingWeight;
  }
  if (resized && !shape.config.tied && !plan.whole.contains(kHeadModule)) {
    out[base_tensor(kHeadModule)] = kHeadWeight;
  }
  return out;
}

std::unique_ptr<ModelSource> grown_for(std::unique_ptr<ModelSource> source,
                                       const AdapterFiles& adapter) {
  const Json& config = source->config();
  const bool said = config.contains("vocab_size") && config["vocab_size"].is_number_integer();
  return said && adapter.vocabulary() > config["vocab_size"].get<int64_t>()
             ? with_vocabulary(std::move(source), adapter.vocabulary(), adapter.folder)
             : std::move(source);
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
  add(!o.lora_target_parameters.empty(), "--lora_target_parameters");
  add(!o.lora_modules_to_save.empty(), "--lora_modules_to_save");
  add(!o.lora_config.is_null(), "--lora_config");
  add(o.use_rslora, "--use_rslora");
  add(o.use_dora, "--use_dora");
  return given;
}

}  // namespace sft
