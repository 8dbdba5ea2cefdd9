// accelerate's YAML (`--accelerate_config`, `--config_file`), TRL's named profiles, and FSDP's
// flags of transformers (`--fsdp`, `--fsdp_config`), carried over into the options of a run.
// `validate` calls it.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "settings/sharding_config/config_schema.h"
#include "settings/sharding_config/launch_request.h"

namespace sft {

struct TrainOptions;

std::span<const ConfigKey> accelerate_keys();
std::span<const ConfigKey> fsdp_keys();
std::vector<std::string> accelerate_profiles();

// A profile's name or the path of a YAML or JSON file, given with `flag`. Errors: C120 no such
// file, C121-C125 as DeepSpeed's JSON, C126 when it contradicts --deepspeed or --fsdp.
void apply_accelerate(TrainOptions& options, const std::string& name, const std::string& flag,
                      const Ranks& ranks);

// --fsdp and --fsdp_config, a JSON object or null.
void apply_fsdp(TrainOptions& options, const std::string& fsdp, const Json& config,
                const Ranks& ranks);

}  // namespace sft
