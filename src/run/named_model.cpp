#include "run/named_model.h"

#include <fmt/format.h>

#include "core/error.h"
#include "model/model.h"
#include "settings/nested_options.h"

namespace sft {

std::unique_ptr<ModelSource> named_model(const ModelOptions& options, const HubEnvironment& hub) {
  auto source = ModelSource::open(*options.model_name_or_path, options.model_revision, hub);
  source->override_config(config_overrides(options));
  // No family that is supported has experts, so there is no loss to weigh. 0 asks for none.
  if (options.router_aux_loss_coef.value_or(0.0) != 0.0) {
    throw Error("C079", fmt::format("--router_aux_loss_coef is {}, and {} ({}) has no experts to "
                                    "balance",
                                    *options.router_aux_loss_coef, source->name(),
                                    find_family(source->config()).architecture))
        .hint("leave it out");
  }
  return source;
}

}  // namespace sft
