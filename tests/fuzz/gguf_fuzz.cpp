// Any bytes as a GGUF file: its tensors, configuration and tokenizer.
#include "fuzz/support.h"
#include "io/gguf/source.h"
#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sft;
  const auto path = fuzz::file_with({reinterpret_cast<const char*>(data), size}, "fuzz.gguf");
  return fuzz::accepts([&] {
    const GgufSource source("fuzz", path);
    for (const std::string& name : source.names()) {
      std::vector<float> values(static_cast<size_t>(source.shape(name).elements()));
      fuzz::accepts([&] { source.read_f32(name, values.data(), nullptr); });
    }
    source.chat_templates();
    if (const auto text = source.file_text("tokenizer.json")) {
      const Tokenizer tokenizer = Tokenizer::from_text(*text, Json::object(), "tokenizer.json");
      tokenizer.decode(tokenizer.encode("Hello, world! 世界", true), false);
    }
  });
}
