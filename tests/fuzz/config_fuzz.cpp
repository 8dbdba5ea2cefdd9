// Any text as a model's config.json, from which the family's program is recorded where it is small.
#include "core/json.h"
#include "fuzz/support.h"
#include "model/model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sft;
  return fuzz::accepts([&] {
    const Json config = parse_json({reinterpret_cast<const char*>(data), size}, "config.json");
    const Model model = Model::from_config(config);
    if (model.trained.size() < 200 && model.layout.elements < 10'000'000) {
      record_training(model, {.tokens = 32, .documents = 2}, LossType{}, true, MemoryPolicy{});
    }
  });
}
