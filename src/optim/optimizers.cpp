#include "optim/optimizers.h"

#include <algorithm>
#include <array>
#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/numbers.h"
#include "core/strings.h"

namespace sft {

namespace {

// Paged states are where the others are: memory is planned before the run, there is nothing to
// page.
constexpr std::array kBuilt{
    OptimizerName{"adamw_torch", RuleName::adamw, StateFormat::f32},
    OptimizerName{"adamw_torch_fused", RuleName::adamw, StateFormat::f32},
    OptimizerName{"paged_adamw_32bit", RuleName::adamw, StateFormat::f32},
    OptimizerName{"paged_adamw", RuleName::adamw, StateFormat::f32},
    OptimizerName{"adamw_bf16", RuleName::adamw, StateFormat::bf16},
    OptimizerName{"adamw_8bit", RuleName::adamw, StateFormat::block8},
    OptimizerName{"adamw_bnb_8bit", RuleName::adamw, StateFormat::block8},
    OptimizerName{"paged_adamw_8bit", RuleName::adamw, StateFormat::block8},
    OptimizerName{"lion_32bit", RuleName::lion, StateFormat::f32},
    OptimizerName{"paged_lion_32bit", RuleName::lion, StateFormat::f32},
    OptimizerName{"lion_8bit", RuleName::lion, StateFormat::block8},
    OptimizerName{"paged_lion_8bit", RuleName::lion, StateFormat::block8},
    OptimizerName{"sgd", RuleName::sgd, StateFormat::f32},
    OptimizerName{"rmsprop", RuleName::rmsprop, StateFormat::f32},
    OptimizerName{"adagrad", RuleName::adagrad, StateFormat::f32},
    OptimizerName{"adafactor", RuleName::direction, StateFormat::f32, WholeStep::adafactor},
    OptimizerName{"muon", RuleName::adamw, StateFormat::f32, WholeStep::muon},
};

// What --optim_args may say of a rule: transformers' keys. Rules that have none have flags for all
// of their own.
struct RuleArgument {
  RuleName rule;
  WholeStep whole;
  std::string_view key;
  double OptimizerSettings::* number;  // at least 0; null: a switch
  bool OptimizerSettings::* on;
};
struct Adjustment {
  std::string_view name;
  RateAdjustment kind;
};
constexpr std::array kAdjustments{
    Adjustment{"original", RateAdjustment::original},
    Adjustment{"match_rms_adamw", RateAdjustment::match_rms_adamw},
    Adjustment{"spectral_unclamped", RateAdjustment::spectral_unclamped}};
constexpr std::array kArguments{
    RuleArgument{RuleName::adamw, WholeStep::muon, "momentum", &OptimizerSettings::momentum,
                 nullptr},
    RuleArgument{RuleName::adamw, WholeStep::muon, "nesterov", nullptr,
                 &OptimizerSettings::nesterov},
    RuleArgument{RuleName::sgd, WholeStep::none, "momentum", &OptimizerSettings::momentum, nullptr},
    RuleArgument{RuleName::sgd, WholeStep::none, "dampening", &OptimizerSettings::dampening,
                 nullptr},
    RuleArgument{RuleName::sgd, WholeStep::none, "nesterov", nullptr, &OptimizerSettings::nesterov},
    RuleArgument{RuleName::rmsprop, WholeStep::none, "alpha", &OptimizerSettings::alpha, nullptr},
    RuleArgument{RuleName::rmsprop, WholeStep::none, "momentum", &OptimizerSettings::momentum,
                 nullptr},
    RuleArgument{RuleName::rmsprop, WholeStep::none, "eps", &OptimizerSettings::epsilon, nullptr},
    RuleArgument{RuleName::rmsprop, WholeStep::none, "centered", nullptr,
                 &OptimizerSettings::centered},
    RuleArgument{RuleName::adagrad, WholeStep::none, "lr_decay", &OptimizerSettings::lr_decay,
                 nullptr},
    RuleArgument{RuleName::adagrad, WholeStep::none, "eps", &OptimizerSettings::epsilon, nullptr},
};

constexpr std::array<std::string_view, 28> kOthers{"adamw_torch_xla",
                                                   "adamw_torch_npu_fused",
                                                   "adamw_apex_fused",
                                                   "adamw_anyprecision",
                                                   "adamw_torch_4bit",
                                                   "adamw_torch_8bit",
                                                   "ademamix",
                                                   "ademamix_8bit",
                                                   "paged_ademamix_32bit",
                                                   "paged_ademamix_8bit",
                                                   "rmsprop_bnb",
                                                   "rmsprop_bnb_8bit",
                                                   "rmsprop_bnb_32bit",
                                                   "galore_adamw",
                                                   "galore_adamw_8bit",
                                                   "galore_adafactor",
                                                   "galore_adamw_layerwise",
                                                   "galore_adamw_8bit_layerwise",
                                                   "galore_adafactor_layerwise",
                                                   "lomo",
                                                   "adalomo",
                                                   "grokadamw",
                                                   "schedule_free_radam",
                                                   "schedule_free_adamw",
                                                   "schedule_free_sgd",
                                                   "apollo_adamw",
                                                   "apollo_adamw_layerwise",
                                                   "stable_adamw"};

}  // namespace

const OptimizerName* find_optimizer(std::string_view name) {
  const auto* const found = std::ranges::find(kBuilt, name, &OptimizerName::name);
  return found == kBuilt.end() ? nullptr : found;
}

std::string eight_bit_name(const OptimizerSettings& settings) {
  if (settings.format == StateFormat::block8) {
    return "";
  }
  for (const OptimizerName& o : kBuilt) {
    if (o.rule == settings.rule && o.format == StateFormat::block8) {
      return std::string(o.name);
    }
  }
  return "";
}

namespace {

Error wrong_argument(const OptimOptions& o, std::string_view text, const std::string& hint) {
  return Error("C180", fmt::format("--optim_args: {} has no use for \"{}\"", o.optim, text))
      .hint(hint);
}

void set_argument(const OptimOptions& o, std::string_view text, OptimizerSettings& settings) {
  std::vector<std::string> known;
  const size_t equals = text.find('=');
  const std::string_view key = trim(text.substr(0, equals));
  const std::string value(equals == text.npos ? "" : trim(text.substr(equals + 1)));
  for (const RuleArgument& a : kArguments) {
    if (a.rule != settings.rule || a.whole != settings.whole) {
      continue;
    }
    known.emplace_back(a.key);
    if (a.key != key) {
      continue;
    }
    if (a.on != nullptr) {
      const std::string word = to_lower(value);
      const bool on = word == "true" || word == "1" || word == "yes";
      if (!on && word != "false" && word != "0" && word != "no") {
        throw wrong_argument(o, text, fmt::format("{}=true or {}=false", key, key));
      }
      settings.*a.on = on;
      return;
    }
    const std::optional<double> number = real_number(value);
    if (!number || *number < 0.0) {
      throw wrong_argument(o, text, fmt::format("{} is a number of at least 0", key));
    }
    settings.*a.number = *number;
    return;
  }
  if (settings.whole == WholeStep::muon) {
    known.emplace_back("adjust_lr_fn");
    if (key == "adjust_lr_fn") {
      const auto* const found = std::ranges::find(kAdjustments, value, &Adjustment::name);
      if (found == kAdjustments.end()) {
        throw wrong_argument(o, text,
                             "adjust_lr_fn is original, match_rms_adamw or spectral_unclamped");
      }
      settings.adjustment = found->kind;
      return;
    }
  }
  if (key == "weight_decay") {
    throw wrong_argument(o, text,
                         "it is --weight_decay; in transformers too this key has no effect");
  }
  throw wrong_argument(
      o, text,
      known.empty()
          ? fmt::format("{} has flags for all of its own; leave --optim_args out", o.optim)
          : fmt::format("it has {}", fmt::join(known, ", ")));
}

}  // namespace

OptimizerSettings optimizer_settings(const OptimOptions& o, uint64_t seed) {
  const OptimizerName& name = *find_optimizer(o.optim);
  OptimizerSettings settings;
  settings.beta1 = o.adam_beta1;
  settings.beta2 = o.adam_beta2;
  settings.weight_decay = o.weight_decay;
  settings.format = name.format;
  settings.seed = seed;
  settings.rule = name.rule;
  // The others' epsilon is torch's own, as in transformers.
  settings.whole = name.whole;
  settings.epsilon = name.rule == RuleName::adamw         ? o.adam_epsilon
                     : name.rule == RuleName::adagrad     ? 1e-10
                     : name.whole == WholeStep::adafactor ? 1e-30
                                                          : 1e-8;
  if (name.whole == WholeStep::muon) {
    settings.momentum = 0.95;
    settings.nesterov = true;
  }
  for (const std::string& text : split(o.optim_args.value_or(""), ',')) {
    if (!trim(text).empty()) {
      set_argument(o, text, settings);
    }
  }
  if (settings.rule == RuleName::sgd && settings.nesterov &&
      (settings.momentum <= 0.0 || settings.dampening != 0.0)) {
    throw wrong_argument(o, "nesterov=true",
                         "Nesterov's variant needs a momentum and no dampening");
  }
  return settings;
}

std::vector<std::string> built_optimizers() {
  std::vector<std::string> names;
  for (const OptimizerName& o : kBuilt) {
    names.emplace_back(o.name);
  }
  return names;
}

std::vector<std::string> known_optimizers() {
  std::vector<std::string> names = built_optimizers();
  names.insert(names.end(), kOthers.begin(), kOthers.end());
  return names;
}

}  // namespace sft
