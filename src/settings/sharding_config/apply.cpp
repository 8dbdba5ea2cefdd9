#include "settings/sharding_config/apply.h"

#include <fmt/format.h>

#include "core/error.h"
#include "settings/sharding_config/accelerate.h"
#include "settings/sharding_config/deepspeed.h"
#include "settings/train_options.h"

namespace sft {

void apply_sharding_configs(TrainOptions& o, const Ranks& ranks) {
  const DistributedOptions& d = o.distributed;
  if (d.accelerate_config && d.config_file && *d.accelerate_config != *d.config_file) {
    throw Error("C126", fmt::format("--accelerate_config {} and --config_file {} are two names of "
                                    "one option",
                                    *d.accelerate_config, *d.config_file));
  }
  if (!d.deepspeed.is_null() && d.fsdp) {
    throw Error("C126", "--deepspeed and --fsdp both say how state is sharded; give one of them");
  }
  if (!d.fsdp_config.is_null() && !d.fsdp) {
    throw Error("C126", "--fsdp_config does nothing without --fsdp").hint("--fsdp full_shard");
  }
  if (const auto& config = d.accelerate_config ? d.accelerate_config : d.config_file) {
    apply_accelerate(o, *config, d.accelerate_config ? "--accelerate_config" : "--config_file",
                     ranks);
  }
  if (!d.deepspeed.is_null()) {
    apply_deepspeed(o,
                    d.deepspeed.is_string()
                        ? read_config_json(d.deepspeed.get<std::string>(), "--deepspeed")
                        : NamedJson{"deepspeed", d.deepspeed},
                    ranks.all);
  }
  if (d.fsdp) {
    apply_fsdp(o, *d.fsdp, d.fsdp_config, ranks);
  }
}

std::string sharding_config_page() {
  return "# DeepSpeed, accelerate and FSDP configurations\n"
         "`--deepspeed ds-config.json` takes DeepSpeed's JSON: a path, the JSON itself, or base64 "
         "of it.\n`--accelerate_config` (or `--config_file`) takes accelerate's YAML or one of "
         "TRL's profiles: single_gpu,\nmulti_gpu, zero1, zero2, zero3, fsdp1, fsdp2. `--fsdp` and "
         "`--fsdp_config` are those of transformers.\n\n"
         "An unknown key is an error that names the nearest one, and so is a key that stands in a "
         "file twice.\n`\"auto\"` takes the flag's value; any other value must equal the flag's, "
         "and all that differ are listed in one\nerror. A key without effect here is accepted and "
         "named once.\n\n"
         "## DeepSpeed's JSON\n" +
         key_table(deepspeed_keys(), deepspeed_renamed_keys()) + "\n## accelerate's YAML\n" +
         key_table(accelerate_keys()) +
         "\n## FSDP\nIn accelerate's `fsdp_config` each key begins with `fsdp_`.\n\n" +
         key_table(fsdp_keys());
}

}  // namespace sft
