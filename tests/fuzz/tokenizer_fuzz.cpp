// Any text as a tokenizer.json, with which a few texts are encoded and decoded.
#include "core/json.h"
#include "fuzz/support.h"
#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sft;
  return fuzz::accepts([&] {
    const Tokenizer tokenizer = Tokenizer::from_text({reinterpret_cast<const char*>(data), size},
                                                     Json::object(), "tokenizer.json");
    for (const char* text : {"", "Hello, world! 12345", "  \n\tÀÉ 世界 🙂 e\xcc\x81", "<s>a</s>"}) {
      tokenizer.decode(tokenizer.encode(text, true), false);
    }
  });
}
