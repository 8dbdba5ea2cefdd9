// Any bytes as the one safetensors file of a folder, of which each tensor that is quantised (by
// bitsandbytes, or in float8 with scales) is read as it is stored and as values.
#include "core/dtype.h"
#include "fuzz/support.h"
#include "io/packed_tensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sft;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  return fuzz::accepts([&] {
    const SafetensorsFolder files(fuzz::file_with(bytes, "model.safetensors").parent_path());
    const PackedTensors packed(files);
    for (const std::string& name : files.names()) {
      const PackedTensors::Entry* entry = packed.find(name);
      if (entry == nullptr) {
        continue;
      }
      std::vector<std::byte> stored(bytes_of(entry->type, entry->shape));
      Tensor tensor{stored.data(), entry->shape, entry->type};
      fuzz::accepts([&] { packed.read(name, tensor); });
      const int64_t count = entry->shape.elements();
      std::vector<float> values(static_cast<size_t>(count));
      fuzz::accepts([&] { packed.read_f32(name, {0, count}, values.data(), nullptr); });
    }
  });
}
