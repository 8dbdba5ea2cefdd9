// --deepspeed, --accelerate_config, --config_file, --fsdp and --fsdp_config: which of them speak,
// and that they do not contradict each other. `validate` calls it.
#pragma once

#include <string>

#include "settings/sharding_config/launch_request.h"

namespace sft {

struct TrainOptions;

// Fills options.sharding and options.launch, and adds notes. Errors: C120-C126, and C010 for what
// is asked for and not built.
void apply_sharding_configs(TrainOptions& options, const Ranks& ranks);

// Every key of those configurations with its effect, as Markdown: `sft help deepspeed`, and
// docs/deepspeed.md.
std::string sharding_config_page();

}  // namespace sft
