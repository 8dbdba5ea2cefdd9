#include "run/named_model.h"

#include <fmt/format.h>

#include "core/error.h"
#include "model/model.h"
#include "settings/nested_options.h"

namespace sft {

std::unique_ptr<ModelSource> named_model(const ModelOptions& options, const HubEnvironment& hub) {
  auto source = ModelSource::open(*options.model_name_or_path, options.model_revision, hub);
  source->override_config(config_overrides(options));
  const std::optional<double>& wanted = options.router_aux_loss_coef;  // 0 asks for none
  // A saved config.json says what it was trained with, as TRL's does.
  if (const auto own = read_model_config(source->config()).balance_coefficient) {
    if (wanted) {
      source->set_config("router_aux_loss_coef", *wanted);
    }
    source->set_config("output_router_logits", wanted ? *wanted != 0.0 : *own != 0.0F);
  } else if (wanted.value_or(0.0) != 0.0) {
    throw Error("C079", fmt::format("--router_aux_loss_coef is {}, and {} ({}) has no such loss",
                                    *options.router_aux_loss_coef, source->name(),
                                    find_family(source->config()).architecture))
        .hint("leave it out");
  }
  return source;
}

}  // namespace sft
