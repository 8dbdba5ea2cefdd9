#include "optim/optimizers.h"

#include <algorithm>
#include <array>

namespace sft {

namespace {

// Paged states are where the others are: memory is planned before the run, there is nothing to
// page.
constexpr std::array kBuilt{
    OptimizerName{"adamw_torch", StateFormat::f32},
    OptimizerName{"adamw_torch_fused", StateFormat::f32},
    OptimizerName{"paged_adamw_32bit", StateFormat::f32},
    OptimizerName{"paged_adamw", StateFormat::f32},
    OptimizerName{"adamw_bf16", StateFormat::bf16},
    OptimizerName{"adamw_8bit", StateFormat::block8},
    OptimizerName{"adamw_bnb_8bit", StateFormat::block8},
    OptimizerName{"paged_adamw_8bit", StateFormat::block8},
};

constexpr std::array<std::string_view, 37> kOthers{"adamw_torch_xla",
                                                   "adamw_torch_npu_fused",
                                                   "adamw_apex_fused",
                                                   "adafactor",
                                                   "adamw_anyprecision",
                                                   "adamw_torch_4bit",
                                                   "adamw_torch_8bit",
                                                   "ademamix",
                                                   "sgd",
                                                   "adagrad",
                                                   "ademamix_8bit",
                                                   "lion_8bit",
                                                   "lion_32bit",
                                                   "paged_ademamix_32bit",
                                                   "paged_ademamix_8bit",
                                                   "paged_lion_32bit",
                                                   "paged_lion_8bit",
                                                   "rmsprop",
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
                                                   "stable_adamw",
                                                   "muon"};

}  // namespace

const OptimizerName* find_optimizer(std::string_view name) {
  const auto* const found = std::ranges::find(kBuilt, name, &OptimizerName::name);
  return found == kBuilt.end() ? nullptr : found;
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
