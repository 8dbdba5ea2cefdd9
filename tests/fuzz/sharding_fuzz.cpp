// Any text as DeepSpeed's JSON, accelerate's YAML or FSDP's settings: the first byte chooses.
#include "fuzz/support.h"
#include "settings/sharding_config/accelerate.h"
#include "settings/sharding_config/deepspeed.h"
#include "settings/train_options.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sft;
  if (size == 0) {
    return 0;
  }
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  return fuzz::accepts([&] {
    TrainOptions options;
    const Ranks ranks{2, 2};
    switch (data[0] % 3) {
      case 0:
        apply_deepspeed(options, read_config_json(fuzz::file_with(rest, "ds.json").string(), "ds"),
                        ranks.all);
        break;
      case 1:
        apply_accelerate(options, fuzz::file_with(rest, "accelerate.yaml").string(),
                         "--accelerate_config", ranks);
        break;
      default:
        apply_fsdp(options, "full_shard auto_wrap",
                   read_config_json(fuzz::file_with(rest, "fsdp.json").string(), "fsdp").value,
                   ranks);
    }
  });
}
