// Any text as a checkpoint's manifest (with its checksum set right, or nothing behind it would be
// tried) or, first byte odd, as its trainer_state.json.
#include "core/json.h"
#include "fuzz/support.h"
#include "io/checkpoint.h"
#include "io/checksum.h"
#include "report/trainer_state.h"

#include <fmt/format.h>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sft;
  if (size == 0) {
    return 0;
  }
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  return fuzz::accepts([&] {
    if (data[0] % 2 == 1) {
      TrainerState::parse(parse_json(rest, "trainer_state.json"), "trainer_state.json").text();
      return;
    }
    fuzz::file_with("abc", "file");
    std::string text(rest);
    try {
      Json json = parse_json(rest, "manifest.json");
      if (json.is_object()) {
        json.erase("manifest_crc32c");
        const std::string plain = json.dump();
        json["manifest_crc32c"] = fmt::format("{:08x}", crc32c(0, plain.data(), plain.size()));
        text = json.dump(2) + "\n";
      }
    } catch (const std::exception&) {  // as it is, then
    }
    verify_checkpoint(fuzz::file_with(text, "manifest.json").parent_path());
  });
}
