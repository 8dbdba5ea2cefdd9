// Any bytes as a safetensors file, or (first byte odd) as the index of a folder of two files.
#include "fuzz/support.h"
#include "io/safetensors.h"

namespace {
void read(const sft::SafetensorsFile& file) {
  for (const sft::StoredTensor& tensor : file.tensors()) {
    std::vector<float> values(static_cast<size_t>(tensor.elements()));
    sft::fuzz::accepts([&] { file.read_f32(tensor, values.data()); });
    file.raw(tensor);
  }
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sft;
  if (size == 0) {
    return 0;
  }
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  return fuzz::accepts([&] {
    if (data[0] % 2 == 0) {
      read(SafetensorsFile(fuzz::file_with(rest, "one.safetensors")));
      return;
    }
    static const std::string tiny = [] {
      const std::string header = R"({"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}})";
      return std::string{static_cast<char>(header.size()), 0, 0, 0, 0, 0, 0, 0} + header + "1234";
    }();
    fuzz::file_with(tiny, "part-1.safetensors");
    const auto index = fuzz::file_with(rest, "model.safetensors.index.json");
    const SafetensorsFolder folder(index.parent_path());
    for (const std::string& name : folder.names()) {
      folder.find(name);
    }
  });
}
