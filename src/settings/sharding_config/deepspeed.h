// DeepSpeed's JSON (`--deepspeed`): read strictly, compared with the flags as transformers does,
// and carried over into the options of a run. `validate` calls it.
#pragma once

#include <span>

#include "settings/sharding_config/config_schema.h"

namespace sft {

struct TrainOptions;

std::span<const ConfigKey> deepspeed_keys();
std::span<const RenamedKey> deepspeed_renamed_keys();

// Applies `config` to the options: sharding, schedule, precision; adds notes. `world` is the number
// of data-parallel ranks. Errors: C120-C125; C124 lists every value that differs from its flag.
void apply_deepspeed(TrainOptions& options, const NamedJson& config, int64_t world);

// C124 when the JSON gives a number of steps that the data do not: only known once they are read.
void check_deepspeed_steps(const TrainOptions& options, int64_t total_steps);

}  // namespace sft
