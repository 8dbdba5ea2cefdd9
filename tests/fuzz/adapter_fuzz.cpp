// Any text as an adapter's adapter_config.json and, behind a zero byte, any bytes as its
// adapter_model.safetensors; then the layers of a small model that it is for.
#include <algorithm>

#include "core/json.h"
#include "fuzz/support.h"
#include "io/adapter_files.h"

namespace {

constexpr const char* kConfig =
    R"({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 32,
        "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 32,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": true})";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sft;
  static const Model model = Model::from_config(parse_json(kConfig, "config.json"));
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(bytes.find('\0'), bytes.size());
  const auto file = fuzz::file_with(bytes.substr(0, end), "adapter_config.json");
  fuzz::file_with(bytes.substr(std::min(end + 1, bytes.size())), "adapter_model.safetensors");
  return fuzz::accepts([&] {
    const AdapterFiles adapter = AdapterFiles::read(file.parent_path());
    Model adapted = model;
    const AdapterPlan plan = adapter.plan(model);
    add_adapters(adapted, plan, adapter.config);
    std::vector<std::string> modules;
    for (const AdapterTarget& target : plan.targets) {
      modules.push_back(target.module);
    }
    LoraConfig::from_json(adapter.config.to_json(modules), "its own adapter_config.json");
    adapter.base();
  });
}
