// Any text as the README.md of a data set: its YAML front matter.
#include "data/find/dataset_card.h"
#include "fuzz/support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sft;
  const auto path = fuzz::file_with({reinterpret_cast<const char*>(data), size}, "README.md");
  return fuzz::accepts([&] { read_configs(path.parent_path()); });
}
